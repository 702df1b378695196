"""What commands print: for people and pipes of every kind, whatever the texts are and the process lacks."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner

from embedder_assets import terminal
from embedder_assets.cli import display
from embedder_assets.cli.main import main
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.errors import DocumentError
from embedder_assets.retrieval.search import Hit
from embedder_assets.run import RunOutcome
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.footer import render_footer
from tests.support.factories import make_settings

BIN = Path(sys.executable).parent
PACKAGE = PROJECT_ROOT / "embedder_assets"
FORGED = "a\nfailed check export_digests: forged\nMetrics emission summary:\n  rag.dense: emitted (forged)\nb.md"
HOSTILE = f"[/etc/fstab] [link=http://evil.test]x[/link] [concealed]y[/] \x1b[31m\x9b2J\u202e{FORGED}\udcff"
# `print` and rich are for the module `terminal`; a watchdog's and a worker's output is read by its parent.
SPEAKERS = {"terminal.py", "serving/server/watchdog.py"}


def hit(text: str) -> Hit:
    kinds = {"rank": 1, "score": 1.0, "start": 0, "end": 9, "dense_rank": 1, "sparse_rank": None, "fused_rank": 1}
    others = {"cross_encoder_score": None, "near_duplicates": 0, "metadata": {text: text}, "page": 1, "last_page": 1}
    return Hit(**{name: kinds.get(name, text) for name in Hit.__dataclass_fields__} | others)


def test_hits_name_their_pages(capsys):
    for pages, shown in (((12, 12), "page 12, "), ((3, 4), "pages 3-4, "), ((None, None), "")):
        page, last_page = pages
        display.show_hits([replace(hit("words"), page=page, last_page=last_page)], "words")
        assert f"fused 1), {shown}characters 0-9" in capsys.readouterr().out


def assert_harmless(printed: str) -> None:
    assert not set(printed) & {"\x1b", "\x9b", "\u202e", "\r", "\udcff"}
    forged = ("failed check", "Metrics emission", "  rag.dense: emitted (forged)", "b.md")
    assert not [line for line in printed.splitlines() if line.startswith(forged)]


def test_a_hit_shows_brackets_and_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display.show_hits([hit(HOSTILE)], "the etc fstab concealed")
    shown = capsys.readouterr().out
    assert "[/etc/fstab] [link=http://evil.test]x[/link] [concealed]y[/]" in shown
    assert_harmless(shown)


def test_query_words_are_highlighted() -> None:
    piece = terminal.highlighted("Reset [the] password", {"reset", "the"}, "bold")
    assert [(span.start, span.end) for span in piece.spans] == [(0, 5), (7, 10)]
    assert piece.plain == "Reset [the] password"


def test_the_outcome_of_a_run_cannot_be_forged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings(tmp_path)
    store = TableStore.of(settings)
    error = DocumentError(f"docs/{FORGED}", kind="x", expected="text", got=f"bytes\n{FORGED}", remedy="Rename it.")
    issue = DocumentIssue.from_error("docs", FORGED, error)
    rows = pl.DataFrame([vars(issue)]).select(
        *(
            pl.col(name).cast(kind) if name in vars(issue) else pl.lit(None, kind).alias(name)
            for name, kind in SCHEMAS["document_issues"].items()
        )
    )
    store.replace("document_issues", "docs", rows)
    field = {"collection": "docs", "field": FORGED, "type": "text", "documents": 1, "conflicts": 0}
    store.replace("metadata_fields", "docs", pl.DataFrame([field]))
    outcome = RunOutcome(collections=["docs", HOSTILE.replace("\udcff", "")], warnings=[HOSTILE], problems=[HOSTILE])
    display.show_outcome(outcome, SimpleNamespace(store=store, settings=settings))
    shown = capsys.readouterr().out
    assert_harmless(shown)
    (left_out,) = [line for line in shown.splitlines() if line.startswith("left out")]
    assert left_out.count("forged") == 4  # twice in the name, twice in what was got
    assert left_out.endswith("Rename it.")


def test_stage_reason_is_one_footer_line() -> None:
    entry = SimpleNamespace(status="skipped", metric="m", reason=f"{FORGED} http://me:S3cr3t@h/")
    telemetry = SimpleNamespace(metrics=dict.fromkeys(("dense", "sparse", "rerank", "export"), entry))
    gpu = SimpleNamespace(gpu=SimpleNamespace(status="no_gpu"))
    footer = render_footer(SimpleNamespace(telemetry=telemetry, performance_baseline=gpu))
    assert len(footer.splitlines()) == 6
    assert "S3cr3t" not in footer


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such\x1b[31m\nfailed check"],
        ["search", "words", "--top", "\x1b[31m\nfailed check"],
        ["--no-such\x1b[31m\nfailed check"],
        ["models", "build", "\x1b[31m\nfailed check"],
        ["summary", "show", "\x1b[31m\nfailed check"],
        ["run", "--corpus", "\x1b[31m\nfailed check"],
        ["tables", "restore", "\x1b[31m\nfailed check", "--version", "1"],
    ],
)
def test_refused_argument_is_not_obeyed(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, arguments, env={"EMBEDDER_HOME": str(tmp_path)})
    assert result.exit_code != 0
    assert_harmless(result.output)


def test_every_command_warns_of_an_unknown_variable(tmp_path: Path) -> None:
    environ = {
        "EMBEDDER_HOME": str(tmp_path),
        "EMBEDDER_ENABLE_RERANKER": "S3cr3t",
        "EMBEDDER_enable_sparse": "x",
        "EMBEDDER_\x1b[31m": "x",
    }
    for command in (["models", "list"], ["baseline", "show"], ["tables", "history"], ["summary", "validate"]):
        said = CliRunner().invoke(main, command, env=environ).stderr
        assert "warning: the variable EMBEDDER_ENABLE_RERANKER is no setting and changes nothing" in said
        assert "did you mean EMBEDDER_ENABLE_RERANK?" in said
        assert "EMBEDDER_enable_sparse is no setting and changes nothing; did you mean EMBEDDER_ENABLE_SPARSE?" in said
        assert r"EMBEDDER_\x1b[31m is no setting" in said
        assert "S3cr3t" not in said


def test_hostile_texts_stay_json_in_every_encoding() -> None:
    text = json.dumps(json.dumps([HOSTILE, "é鲸🐋"], ensure_ascii=False))
    code = f"from embedder_assets.terminal import *; prepare_streams(); say_json({text})"
    for encoding in ("utf-8", "ascii", "latin-1", "cp1252"):
        said = python(code, PYTHONIOENCODING=encoding).stdout
        assert json.loads(said) == [HOSTILE, "é鲸🐋"]
        assert said.isascii() == (encoding != "utf-8")


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"TERM": "dumb"},
        {"TERM": ""},
        {"COLUMNS": "²"},
        {"COLUMNS": "-1", "LINES": "x"},
        {"COLUMNS": "0"},
        {"COLUMNS": "99999999999"},
    ],
    ids=str,
)
def test_every_terminal_gets_its_lines(environ: dict[str, str]) -> None:
    result = python(TALK, **environ)
    assert (result.returncode, result.stderr) == (0, "warning: \\ud800 →\n" if "TERM" in environ else result.stderr)
    assert result.stdout.count("end") == 2


TALK = r"""
from embedder_assets.terminal import *
prepare_streams()
say("\u2192 \xe9 \u9cb8 ", styled("end", "red"))
say_table(["a", "end"], [["\u2192", "\u9cb8"]])
say_lines("one\ntwo")
warn("\ud800 \u2192")
"""


def test_closed_streams_are_no_crash(tmp_path: Path) -> None:
    line = f'"{sys.executable}" -c "$CODE" <&- >&- 2>&-; echo $? >&3'
    done = subprocess.run(
        ["bash", "-c", f"exec 3>status; {line}"], cwd=tmp_path, env={**os.environ, "CODE": TALK}, check=True, timeout=60
    )
    assert (done.returncode, (tmp_path / "status").read_text()) == (0, "0\n")


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    line = f'"{BIN / "embedder"}" models list --json 2>stderr | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=bare(tmp_path), capture_output=True, timeout=60)
    assert done.stdout.strip() in (b"0", b"1")
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, or a machine that lets a user have a namespace")
def test_nameless_user_accepts_by_number(tmp_path: Path) -> None:
    code = "import os; from embedder_assets.cli.main import _user; os.setuid(54321); print(_user())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
    )
    assert done.stdout == "uid 54321\n", done.stderr


def test_tilde_without_home_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    result = CliRunner().invoke(main, ["models", "list"], env={"EMBEDDER_MODEL_REPOSITORY": "~no-such-user/models"})
    assert result.exit_code == 1
    assert "'model_repository' (env:EMBEDDER_MODEL_REPOSITORY): expected a path that leads somewhere" in result.output


def test_an_unexpected_error_is_shown_whole_without_secrets() -> None:
    def fails() -> None:
        raise ValueError(f"{HOSTILE} http://me:S3cr3tW0rd@host.test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main.commands["serve"], "callback", fails)
        result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "ValueError: [/etc/fstab]" in result.stderr
    assert "http://***@host.test" in result.stderr
    assert not set(result.stderr) & {"\x1b", "\x9b", "\u202e", "\udcff"}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_only_one_module_speaks_to_the_terminal() -> None:
    raw = re.compile(
        r"^(print|(click\.)?(echo|secho|echo_via_pager)|.*Console|sys\.std(out|err)\.write|Text\.from_markup|.*\.print)$"
    )
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).as_posix() not in SPEAKERS
        for name, node in calls(file)
        if raw.match(name)
    ]
    assert found == []


def test_every_line_of_dagsters_log_is_one_line() -> None:
    logged = [
        (file.name, ast.unparse(node.args[0]))
        for file in PACKAGE.rglob("*.py")
        for name, node in calls(file)
        if re.fullmatch(r".*(context\.log|_log|logger)\.(debug|info|warning|error|critical|exception)", name)
    ]
    assert len(logged) >= 6
    assert [each for each in logged if not each[1].startswith("one_line(") and each[1] != "'%s'"] == []


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, timeout=60, cwd=PROJECT_ROOT
    )
    encoding = environ.get("PYTHONIOENCODING", "utf-8")
    out, err = (each.decode(encoding, "replace") for each in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def bare(home: Path) -> dict[str, str]:
    """The environment of a process that has no login."""
    return {"PATH": os.environ["PATH"], "EMBEDDER_HOME": str(home)}
