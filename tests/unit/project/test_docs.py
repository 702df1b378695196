"""The docs name everything that the code has, and promise nothing that is not there."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from embedder_assets.checks.data import QUALITY_RULES, RULES
from embedder_assets.checks.proof import OWN_ATTRIBUTES
from embedder_assets.checks.telemetry import RULES as PROOF_RULES
from embedder_assets.cli.main import main
from embedder_assets.corpus.document import NOTICES
from embedder_assets.definitions import defs
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.serving.models.description import (
    HuggingFaceSource,
    LocalSource,
    ModelDescription,
    ShippedSource,
    WheelSource,
)
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.telemetry import emission as endpoint
from embedder_assets.telemetry.manifest.schema import DenseRun, Manifest, RerankRun, SparseRun
from embedder_assets.telemetry.runbook import names_in_code
from embedder_assets.telemetry.spans import request_attributes, span_attributes
from embedder_assets.telemetry.stage_record import RequestTrace, StageRecord

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted(
    [
        *PROJECT_ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *PROJECT_ROOT.glob("model_repository/*/README.md"),
        *PROJECT_ROOT.glob("benchmarks/**/*.md"),
        *PROJECT_ROOT.glob("training/**/*.md"),
    ]
)
# The pages of the runbook: metrics and alerts, spans, the footer.
RUNBOOK, SPANS, FOOTER = "telemetry/rerank_sparse_signals.md", "telemetry/spans.md", "telemetry/footer.md"
RUNBOOK_PAGES = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "telemetry").rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Folders of the machines that this is developed on; a doc that names one is of no use elsewhere.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|tmp/w|home/\w+|root)/")


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def section(text: str, title: str) -> str:
    """What stands below a heading, up to the next heading of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"no section '{title}'"
    rest = text[found.end() :]
    following = re.search(rf"^#{{1,{len(found.group(1))}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def first_cells(text: str) -> list[str]:
    """The names in the first column of the tables of a text."""
    return [
        name for line in text.splitlines() if (cell := re.match(r"\| (`[^|]*) \|", line)) for name in names(cell[1])
    ]


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def commands(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")
    else:
        yield path


def test_settings_page_is_generated() -> None:
    build = runpy.run_path(str(DOCS / "build_settings.py"))
    assert page("settings.md") == build["settings_page"](), "run `python docs/build_settings.py`"


def test_reference_is_generated() -> None:
    build = runpy.run_path(str(DOCS / "build_reference.py"))
    assert page("reference.md") == build["reference_page"](), "run `python docs/build_reference.py`"


def test_regression_example_has_the_readme_s_figures() -> None:
    rows = re.findall(
        r"^│ triton-cookbook .*0\.\d{4} .*│$", (PROJECT_ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    *_, reranked = re.findall(r"0\.\d{4}", rows[-1])
    (row,) = re.findall(r"^│ triton-cookbook .*│$", page("evaluation.md"), re.MULTILINE)
    *_, baseline = re.findall(r"0\.\d{4}", row)
    assert baseline == reranked
    assert f"has {baseline}, and EMBEDDER_QUALITY_TOLERANCE" in page("evaluation.md")


def test_settings_page_has_no_local_path() -> None:
    table = runpy.run_path(str(DOCS / "build_settings.py"))["settings_page"]()
    assert str(PROJECT_ROOT) not in table
    assert str(Path.cwd()) not in table


@pytest.mark.parametrize("command", list(commands(main, "embedder")))
def test_every_command_is_documented(command: str) -> None:
    assert f"| `{command}" in section(page("reference.md"), "Commands")


def test_every_main_option_is_documented() -> None:
    documented = section(page("reference.md"), "Commands")
    options = [opt for name in ("run", "search") for param in main.commands[name].params for opt in param.opts]
    assert [opt for opt in options if opt.startswith("--") and opt not in documented] == []


def test_every_documented_command_exists() -> None:
    known = list(commands(main, "embedder"))
    groups = [f"embedder {name}" for name, command in main.commands.items() if isinstance(command, click.Group)]
    mentioned = {
        mention
        for text in (path.read_text("utf-8") for path in PAGES)
        for mention in re.findall(r"`(embedder(?: [a-z]+)+)", text)
    }
    assert {mention for mention in mentioned if not any(f"{mention} ".startswith(f"{it} ") for it in known)} <= {
        *groups
    }


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    mentioned = {name for path in PAGES for name in re.findall(r"`make ([a-z-]+)", path.read_text("utf-8"))}
    assert mentioned - targets == set()


@pytest.mark.parametrize(("target", "folder"), [("bench", "benchmarks"), ("soak", "tests")])
def test_every_documented_name_of_a_target_exists(target: str, folder: str) -> None:
    known = {path.parent.name for path in (PROJECT_ROOT / folder).glob("*/run.py")}
    mentioned = {name for path in PAGES for name in re.findall(rf"make {target} NAME=(\w+)", path.read_text("utf-8"))}
    assert mentioned
    assert mentioned - known == set()


@pytest.mark.parametrize("target", ["bench", "soak"])
@pytest.mark.parametrize("arguments", [[], ["NAME=unknown"]])
def test_a_missing_or_wrong_name_prints_the_list(target: str, arguments: list[str]) -> None:
    result = subprocess.run(["make", target, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    name = {"bench": "asset_throughput", "soak": "chaos"}[target]
    assert result.returncode == 2
    assert re.search(rf"^  {name} +\w", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("table", list(SCHEMAS))
def test_exactly_all_columns_are_documented_with_types(table: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section(page("tables.md"), table), re.MULTILINE)
    assert rows == [(name, str(data_type)) for name, data_type in SCHEMAS[table].items()]


def test_default_dense_weight_is_documented() -> None:
    assert f"`dense_weight` is {DENSE_WEIGHT}," in section(page("concepts.md"), "The fused score")


def test_every_check_is_documented() -> None:
    documented = names(section(page("tables.md"), "Checks"))
    all_rules = [*RULES.values(), QUALITY_RULES, PROOF_RULES]
    rules = {rule.__name__ for table_rules in all_rules for rule in table_rules}
    assert rules - {*documented} == set()


def test_every_asset_is_documented_and_no_other() -> None:
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    table = section(page("concepts.md"), "Lineage and processes")
    assert {*first_cells(table)} == keys


def metrics_of_the_code() -> set[str]:
    return {name for name in names_in_code() if name.startswith("rag_")}


def spans_of_the_code() -> set[str]:
    return {name for name in names_in_code() if name.startswith("rag.")}


def test_every_metric_is_documented_and_no_other() -> None:
    documented = {name for name in first_cells(section(page(RUNBOOK), "Metrics")) if name.startswith("rag_")}
    assert documented == metrics_of_the_code()


def test_metrics_document_range_and_concern() -> None:
    documented = {name for name in first_cells(section(page(RUNBOOK), "Expected range")) if name.startswith("rag_")}
    assert documented == metrics_of_the_code()


def test_every_span_is_documented_and_no_other() -> None:
    documented = {name for name in first_cells(section(page(SPANS), "Spans")) if name.startswith("rag.")}
    assert documented | {"rag.run"} == spans_of_the_code()
    assert "`rag.run`" in page(SPANS)


@pytest.mark.parametrize("name", RUNBOOK_PAGES)
def test_documented_metrics_and_spans_exist(name: str) -> None:
    series = {re.sub("_(bucket|sum|count)$", "", found) for found in re.findall(r"\brag_\w+", page(name))}
    assert series - metrics_of_the_code() == set()
    mentioned = set(re.findall(r"\brag\.[a-z_]+", page(name)))
    assert mentioned - spans_of_the_code() == set()


def attributes_set_by_assets() -> set[str]:
    """What stages add to their spans: the check of the spans requires all of it, and the code sets nothing else."""
    wanted = {name for names in OWN_ATTRIBUTES.values() for name in names}
    setting = re.compile(r'\.attributes\["(\w+)"\] =|\.attributes \|= {(.*)}|meter\.add\("(\w+)"')
    files = [*(PROJECT_ROOT / "embedder_assets" / "assets").glob("*.py"), Path(inspect.getfile(StageRecord))]
    hits = [hit for path in files for hit in setting.findall(path.read_text("utf-8"))]
    assert {
        name for one, several, added in hits for name in (one, added, *re.findall(r'"(\w+)":', several)) if name
    } == wanted
    return wanted


def test_asset_attributes_have_manifest_fields() -> None:
    fields = {*DenseRun.model_fields} | {*SparseRun.model_fields} | {*RerankRun.model_fields}
    # Export has no section of its own.
    assert attributes_set_by_assets() - fields == {"file_count", "total_size_mb"}


def test_every_span_attribute_is_documented_and_no_other() -> None:
    record = StageRecord(
        stage="rerank",
        status="ok",
        collections=[],
        started_at=0,
        ended_at=1,
        gpu_peak_bytes={"GPU-0": 1},
        fallback_reason="why",
    )
    table = section(page(SPANS), "Spans")
    documented = {name for name in first_cells(table) if not name.startswith("rag.")}
    request = RequestTrace(span_id="1", model="m", started_at=0, latency_s=1, size=1, dimension=384)
    of_requests = {*request_attributes("dense", request)}
    assert documented == {*span_attributes(record)} | of_requests | attributes_set_by_assets()


def test_every_manifest_field_is_documented() -> None:
    documented = {name.split(".")[0] for name in first_cells(section(page("telemetry/README.md"), "Manifest"))}
    assert documented == {*Manifest.model_fields}


def test_every_skip_reason_is_documented() -> None:
    documented = section(page(FOOTER), "Footer")
    phrases = {
        phrase
        for function in ("verify_emission", "_reason_for_no_samples", "_status")
        for phrase in phrases_of(function)
    }
    assert "up to date, nothing to compute" in phrases
    assert {phrase for phrase in phrases if phrase not in documented} == set()
    assert "disabled via " in documented


def phrases_of(function: str) -> Iterator[str]:
    """The literal texts of several words in a function of the metrics endpoint, without its docstring."""
    (code,) = ast.parse(inspect.getsource(getattr(endpoint, function))).body
    assert isinstance(code, ast.FunctionDef)
    docstring = ast.get_docstring(code, clean=False)
    for node in ast.walk(code):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != docstring:
            phrase = node.value.strip(" :")
            if " " in phrase:
                yield phrase


def test_exactly_all_document_issues_are_documented() -> None:
    kinds = {kind for path in (PROJECT_ROOT / "embedder_assets" / "corpus").rglob("*.py") for kind in kinds_of(path)}
    assert {*first_cells(section(page("input.md"), "What can be wrong with a document"))} == {*kinds, *NOTICES}


def kinds_of(path: Path) -> Iterator[str]:
    """The kinds that a module gives to documents, wherever it makes an error or an issue of one."""
    position = {"bad_row": 1, "DocumentIssue": 2}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "kind"]
            given += node.args[position[node.func.id] :][:1] if node.func.id in position else []
            yield from (kind.value for kind in given if isinstance(kind, ast.Constant) and " " not in kind.value)


def test_every_field_of_a_model_description_is_documented() -> None:
    documented = names(section(page("models.md"), "model.toml"))
    fields = {*ModelDescription.model_fields} - {"source"}
    for source in (WheelSource, ShippedSource, LocalSource, HuggingFaceSource):
        fields |= {*source.model_fields} - {"kind"}
    assert fields - {*documented} == set()


def test_every_dependency_is_documented_and_no_other() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))
    declared = [
        *project["project"]["dependencies"],
        *(each for extra in project["project"]["optional-dependencies"].values() for each in extra),
        *(each for group in project["dependency-groups"].values() for each in group),
    ]
    assert {*first_cells(page("dependencies.md"))} == {re.split(r"[\[<>=~; ]", each)[0] for each in declared}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_a_page_is_whole(path: Path) -> None:
    text = path.read_text("utf-8")
    targets = [target for target in LINK.findall(text) if "://" not in target and not target.startswith("#")]
    assert [target for target in targets if not (path.parent / target.split("#")[0]).exists()] == []
    assert MACHINE_PATH.findall(text) == []
    assert str(PROJECT_ROOT) not in text
