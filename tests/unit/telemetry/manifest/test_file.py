"""The manifest as a file: its published schema, writing only what fits, reading every version, showing it."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from embedder_assets.cli.main import main
from embedder_assets.errors import TelemetryError
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.file import find_manifest, read_manifest_file, write_manifest
from embedder_assets.telemetry.manifest.json_schema import SCHEMA_FILE, json_schema, problems_of
from embedder_assets.telemetry.manifest.schema import Manifest
from embedder_assets.telemetry.manifest.summarize import RunFacts, summarize_run
from embedder_assets.telemetry.manifest.v40 import WARNING
from embedder_assets.telemetry.stage_record import LeaseEvent, Mitigation, StageRecord, Tokenization
from tests.conftest import PROJECT
from tests.support.factories import GB, make_record, make_settings

RUN_ID = "3f2b8c1e-9d4a-4c7b-8e6f-1a2b3c4d5e6f"
OTHER_RUN = "3f2b0000-0000-4000-8000-000000000000"
SAMPLES = PROJECT / "tests/unit/telemetry/manifest/samples"
BOTH_STAGES, OLD_NAMES = SAMPLES / "v40_both_stages.json", SAMPLES / "v40_old_names.json"
NOW = "2026-01-01T00:00:00+00:00"
LEASED = LeaseEvent(
    event="acquired", policy="exclusive", at=1000.0, waited_s=2.5, gpu_used_bytes={"0": 5}, models=["m"]
)
RELEASED = LeaseEvent(event="released", policy="exclusive", at=1001.0)
HALVED = Mitigation(kind="batch_halved", model="m", reason="out_of_memory", batch_size=32, at=1000.5)
FAILED_ITEM = Mitigation(kind="item_failed", model="m", reason="out_of_memory", batch_size=1, at=1000.7, items=["c1"])
READ = Tokenization(texts=3, unknown=0.1, spelled_out=0.5, unreadable=0.6667, truncated=0.0)
RECORDS = [
    make_record("chunk"),
    make_record(
        "dense",
        batch_latencies_s=[0.1, 0.2],
        batch_size=64,
        items={"computed": 3, "failed": 1},
        coverage={"kb": 0.75},
        models={"m": "f"},
        tokenization={"kb": {"m": READ}},
        gpu_peak_bytes={"0": 3 * GB, "1": GB},
        lease_events=[LEASED, RELEASED],
        mitigations=[HALVED, FAILED_ITEM],
        attributes={"models_executed": ["m"], "chunks_per_second": 1.5},
    ),
    make_record("sparse", batch_latencies_s=[0.1], gpu_peak_bytes={"0": 2 * GB}, attributes={"coverage_ratio": 1.0}),
    make_record("fuse"),
    make_record("rerank", "off", reason="disabled via cli:--disable-rerank"),
    make_record("export", batch_latencies_s=[0.3], attributes={"file_count": 1, "total_size_mb": 0.1}),
]
FACTS = {
    "evaluation": {"kb": {"judged_queries": 2, "input_digest": "d", "rankings": {"dense": {"nDCG@10": 0.5}}}},
    "ranking_weights": {
        "kb": {
            "fuse": {
                "weights": {"dense": 0.75},
                "source": "learned from 30 judged queries, nDCG@10 +0.1000 out of fold",
                "judged_queries": 30,
                "default_ndcg": 0.4,
                "learned_ndcg": 0.5,
            },
            "rerank": {
                "weights": {"cross_encoder": 0.1, "agreement": 0.5},
                "source": "default: no judged queries",
                "judged_queries": 0,
            },
        }
    },
    "exports": {"kb": {"files": [{"name": "chunks.parquet", "size_bytes": 1, "sha256": "0" * 64}]}, "damaged": {}},
    "warnings": ["kb: 1 documents could not be used"],
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def summarize(home):
    def summarize(*records: StageRecord, run_id: str = RUN_ID, **facts) -> tuple[Manifest, Path]:
        return summarize_run(make_settings(home), records, RunFacts(run_id, True, ["kb"], chunk_count=4, **facts))

    return summarize


@pytest.fixture
def manifest(summarize) -> Manifest:
    """A manifest in which every part is filled."""
    return summarize(*RECORDS, **FACTS)[0]


def embedder(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["summary", *arguments])
    return result.exit_code, result.output


def test_tokenization_is_in_the_section_of_its_stage(manifest):
    assert manifest.dense_run.tokenization["kb"]["m"].model_dump() == READ.model_dump()
    assert manifest.sparse_run.tokenization is None


# The published schema


def test_published_schema_is_generated():
    build = runpy.run_path(str(PROJECT_ROOT / "docs" / "build_manifest_schema.py"))
    assert build["TARGET"].read_text("utf-8") == json_schema(), "run `python docs/build_manifest_schema.py`"


@pytest.mark.parametrize("records", [RECORDS, [], [make_record("dense", "failed", reason="no answer")]])
def test_published_schema_accepts_written_manifests(summarize, records):
    schema = json.loads((PROJECT_ROOT / SCHEMA_FILE).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    content = json.loads(summarize(*records, **FACTS)[1].read_text("utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(content)] == []


def without_samples(content):
    content["telemetry"]["metrics"]["dense"]["samples"] = 0


def without_reason(content):
    del content["telemetry"]["metrics"]["rerank"]["reason"]


def with_a_word_for_a_number(content):
    content["chunk_count"] = "4"


def with_a_field_that_nobody_knows(content):
    content["dense_run"]["surprise"] = 1


def with_an_attribute_of_no_type(content):
    content["telemetry"]["spans"]["rag.dense"]["attributes"]["batch_size"] = {"a": 1}


def without_the_lease_events(content):
    del content["lease_events"]


DAMAGES = {
    without_samples: "$.telemetry.metrics.dense",
    without_reason: "$.telemetry.metrics.rerank",
    with_a_word_for_a_number: "$.chunk_count",
    with_a_field_that_nobody_knows: "$.dense_run.surprise",
    with_an_attribute_of_no_type: '$.telemetry.spans["rag.dense"].attributes.batch_size',
    without_the_lease_events: "$.lease_events",
}


@pytest.mark.parametrize(("damage", "place"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_schema_and_reader_refuse_the_same(home, manifest, damage, place):
    path = home / "runs" / "latest.json"
    content = json.loads(path.read_text("utf-8"))
    damage(content)
    path.write_text(json.dumps(content), "utf-8")
    assert not Draft202012Validator(json.loads(json_schema())).is_valid(content)
    assert {problem.split(": ")[0] for problem in problems_of(content)} == {place}
    with pytest.raises(TelemetryError, match=f"latest.json.*{SCHEMA_FILE}"):
        read_manifest_file(path)
    code, output = embedder("validate")
    assert (code, place in output) == (1, True)


# What is written


def test_leases_and_mitigations_are_ordered_by_time(home, manifest):
    content = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    assert content["lease_events"] == [
        {
            "stage": "dense",
            "event": "acquired",
            "policy": "exclusive",
            "at": "1970-01-01T00:16:40+00:00",
            "waited_s": 2.5,
            "gpu_used_bytes": {"0": 5},
            "models": ["m"],
        },
        {
            "stage": "dense",
            "event": "released",
            "policy": "exclusive",
            "at": "1970-01-01T00:16:41+00:00",
            "waited_s": 0.0,
            "gpu_used_bytes": {},
            "models": [],
        },
    ]
    assert [(entry["kind"], entry["stage"], entry["items"]) for entry in content["mitigations"]] == [
        ("batch_halved", "dense", []),
        ("item_failed", "dense", ["c1"]),
    ]


def test_memory_is_reported_by_device_and_stage(summarize, manifest):
    gpu = manifest.performance_baseline.gpu
    assert gpu.devices == {"0": 3.0, "1": 1.0}
    assert gpu.stages == {"dense": {"0": 3.0, "1": 1.0}, "sparse": {"0": 2.0}}
    assert manifest.performance_baseline.host is None
    without_gpu = [make_record("dense", host_peak_bytes=GB), make_record("sparse", host_peak_bytes=2 * GB)]
    baseline = json.loads(summarize(*without_gpu)[1].read_text("utf-8"))["performance_baseline"]
    assert baseline["host"] == {"peak_memory_used_gb": 2.0}
    assert (baseline["gpu"]["status"], baseline["gpu"]["peak_memory_used_gb"]) == ("no_gpu", None)


@pytest.mark.parametrize("change", [{"chunk_count": "many"}, {"chunk_count": float("nan")}, {"collections": None}])
def test_invalid_manifest_leaves_the_earlier_one(home, manifest, change):
    path = home / "runs" / "latest.json"
    before = path.read_bytes()
    misfit = manifest.model_copy(update={"run_id": OTHER_RUN, **change})
    with pytest.raises(TelemetryError, match=rf"{OTHER_RUN}.*\$\.{next(iter(change))}.*No manifest was written"):
        write_manifest(misfit, home)
    assert path.read_bytes() == before
    assert not (home / "runs" / OTHER_RUN).exists()


def test_invalid_record_is_our_own_error(summarize):
    with pytest.raises(TelemetryError, match="surprise"):
        summarize(make_record("dense", attributes={"surprise": 1}))


def test_what_is_read_is_what_was_written(home, manifest):
    assert read_manifest_file(home / "runs" / RUN_ID / "processing_summary.json") == manifest


# Files that are no manifest


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "a manifest in JSON"),
        ('{"schema_version": "v4.1", ', "a manifest in JSON"),
        ("[]", "schema_version v4.1 or v4.0, got none"),
        ("{}", "schema_version v4.1 or v4.0, got none"),
        ('{"schema_version": "v5.0"}', "schema_version v4.1 or v4.0, got 'v5.0'"),
        ('{"schema_version": "v4.1"}', r"\$\.run_id: Field required; .* and \d+ more"),
        (b"\xff\xfe", "a manifest in JSON"),
    ],
)
def test_invalid_file_is_named_with_remedy(tmp_path, content, complaint):
    path = tmp_path / "broken.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TelemetryError, match=f"broken.json: expected .*{complaint}") as caught:
        read_manifest_file(path)
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TelemetryError, match=r"nowhere.json: expected a manifest, got no such file\. `embedder run`"):
        read_manifest_file(tmp_path / "nowhere.json")


# Finding one


def test_manifest_is_found_by_id_or_path(home, summarize):
    path = summarize(run_id=RUN_ID)[1]
    summarize(run_id=OTHER_RUN)
    for wanted in (RUN_ID, RUN_ID[:8], str(path), str(path.parent)):
        assert find_manifest(home, wanted) == path
    assert find_manifest(home, None) == find_manifest(home, "latest") == home / "runs" / "latest.json"


def test_misspelt_run_id_suggests_the_nearest(home, summarize):
    summarize(run_id=RUN_ID)
    typo = RUN_ID.replace("9d4a", "9d4b")
    with pytest.raises(TelemetryError, match=f"run '{typo}': .* no such run. The nearest: {RUN_ID}"):
        find_manifest(home, typo)


def test_first_letters_of_several_runs_name_them(home, summarize):
    for run_id in (RUN_ID, OTHER_RUN):
        summarize(run_id=run_id)
    with pytest.raises(TelemetryError, match=f"2 runs that begin so. The nearest: {OTHER_RUN}, {RUN_ID}"):
        find_manifest(home, "3f2b")


# The command


def test_show_ends_with_the_footer(manifest):
    code, output = embedder("show")
    assert code == 0
    for words in (
        f"Run {RUN_ID}: succeeded",
        "4 chunks of kb",
        "enable_rerank: true (default)",
        "3 computed, 1 failed",
        "GPU memory: 0 3 GB, 1 1 GB (soft limit 12 GB per device)",
        "Lease: dense waited 2.5 s (exclusive, with m)",
        "Mitigation: dense: m batch_halved to 32 texts per request (out_of_memory)",
        "item_failed to 1 texts per request (out_of_memory, 1 chunks)",
        "warning kb: 1 documents could not be used",
    ):
        assert words in output
    assert output.endswith(render_footer(manifest) + "\n")


def test_show_json_upgrades_v40(home, manifest):
    assert json.loads(embedder("show", "--json")[1]) == json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    code, output = embedder("show", str(BOTH_STAGES), "--json")
    assert (code, json.loads(output)["schema_version"]) == (0, "v4.1")


def test_show_of_v40_warns():
    code, output = embedder("show", str(BOTH_STAGES))
    assert (code, WARNING in output, "0.908" in output) == (0, True, True)


def test_show_without_any_run_says_what_to_do(home):
    code, output = embedder("show")
    assert (code, "`embedder run` writes one" in output) == (1, True)


def test_validate_looks_at_all_that_are_named(home, manifest):
    broken = home / "broken.json"
    broken.write_text("{}", "utf-8")
    code, output = embedder("validate", str(broken), RUN_ID[:8], str(BOTH_STAGES), "zz")
    lines = output.splitlines()
    assert (code, len(lines)) == (1, 4)
    assert lines[0].startswith(f"{broken}: expected schema_version")
    assert lines[1] == f"{home / 'runs' / RUN_ID / 'processing_summary.json'}: ok"
    assert lines[2] == f"{BOTH_STAGES}: ok"
    assert lines[3].startswith("run 'zz': expected a run id")
    assert embedder("validate", RUN_ID) == (0, f"{lines[1]}\n")
