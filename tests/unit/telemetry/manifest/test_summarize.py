"""The manifest and the footer that a run writes of its records."""

import json
import uuid
from pathlib import Path

import pytest

from embedder_assets.telemetry.event_log import ASSET_OF_STAGE
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.schema import Manifest
from embedder_assets.telemetry.manifest.sections import performance_baseline
from embedder_assets.telemetry.manifest.summarize import RunFacts, summarize_run
from embedder_assets.telemetry.stage_record import StageRecord
from tests.support.factories import GB, make_record, make_settings
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, FAILED, OFF, RUN_ID, with_off

# As in the design, letter for letter.
FOOTER = """\
Metrics emission summary:
  rag.dense: emitted (rag_dense_latency_seconds)
  rag.sparse: emitted (rag_sparse_latency_seconds)
  rag.rerank: skipped (disabled via cli:--disable-rerank)
  rag.export: emitted (rag_export_latency_seconds)
  gpu_soft_limit: within_limit"""


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, metrics_port=free_port())


@pytest.fixture
def summarize(settings):
    """Summarizes a run with these records, and returns manifest and path."""

    def summarize(*records: StageRecord, chosen=settings, run_id=RUN_ID, succeeded=True) -> tuple[Manifest, Path]:
        return summarize_run(chosen, records, RunFacts(run_id, succeeded, ["kb"], chunk_count=7))

    return summarize


def test_the_footer_is_the_one_of_the_design(summarize):
    on_a_gpu = make_record("dense", batch_latencies_s=[0.1], gpu_peak_bytes={"GPU-1": GB})
    manifest, _ = summarize(*with_off(OFF, on_a_gpu))
    assert render_footer(manifest) == FOOTER


def test_the_manifest_has_every_section_of_v41(summarize):
    _, path = summarize(*ALL_STAGES)
    content = json.loads(path.read_text())
    assert (content["schema_version"], content["run_id"], content["chunk_count"]) == ("v4.1", RUN_ID, 7)
    assert content["compatibility"] == {"current": "v4.1", "legacy": ["v4.0"]}
    assert (content["status"], content["collections"]) == ("succeeded", ["kb"])
    assert content["generated_at"].endswith("+00:00")
    assert content["feature_toggles"]["enable_rerank"] == {"value": True, "provenance": "default"}
    assert content["performance_baseline"]["batch_latency_ms"]["dense"] == {"p50": 150.0, "p95": 195.0, "p99": 199.0}
    assert content["telemetry"]["metrics"]["dense"]["status"] == "emitted"
    assert set(content["telemetry"]["spans"]) == {f"rag.{stage}" for stage in ASSET_OF_STAGE}
    assert {"dense_run", "sparse_run", "rerank_run", "exports", "lease_events", "mitigations", "warnings"} <= set(
        content
    )


def test_disabled_stage_has_toggle_without_section(tmp_path, summarize):
    chosen = make_settings(tmp_path, "cli:--disable-rerank", enable_rerank=False, metrics_port=free_port())
    content = json.loads(summarize(*with_off(OFF), chosen=chosen)[1].read_text())
    assert "rerank_run" not in content
    assert "rag.rerank" not in content["telemetry"]["spans"]
    assert content["feature_toggles"]["enable_rerank"] == {"value": False, "provenance": "cli:--disable-rerank"}
    assert content["status"] == "succeeded"


def test_failed_stage_section_has_its_reason(summarize):
    content = json.loads(summarize(FAILED, succeeded=False)[1].read_text())
    assert content["status"] == "failed"
    assert content["dense_run"]["reason"] == "InferenceError: no answer"
    assert "sparse_run" not in content


def test_latest_json_copies_the_newest_manifest(tmp_path, summarize):
    for run_id in (RUN_ID, str(uuid.uuid4())):
        path = summarize(*ALL_STAGES, run_id=run_id)[1]
        assert path == tmp_path / "runs" / run_id / "processing_summary.json"
        assert (tmp_path / "runs" / "latest.json").read_bytes() == path.read_bytes()
    assert list((tmp_path / "runs").rglob("*.unfinished")) == []


@pytest.mark.parametrize(
    ("peaks", "status", "devices"),
    [
        ([{}], "no_gpu", []),
        ([{"a": 12 * GB}], "within_limit", []),
        ([{"a": GB, "b": 12 * GB + 1}, {"b": GB}], "exceeded_soft_limit", ["b"]),
    ],
)
def test_gpu_status_compares_devices_with_limit(settings, peaks, status, devices):
    records = [make_record("dense", gpu_peak_bytes=peak) for peak in peaks]
    gpu = performance_baseline(settings, records).gpu
    assert (gpu.status, gpu.soft_limit_devices) == (status, devices)
    assert gpu.soft_limit_exceeded == bool(devices)
    assert gpu.soft_limit_gb == 12.0


def test_gpu_peak_is_the_stages_maximum(settings):
    records = [make_record("dense", gpu_peak_bytes={"a": 3 * GB}), make_record("sparse", gpu_peak_bytes={"a": GB})]
    assert performance_baseline(settings, records).gpu.peak_memory_used_gb == 3.0
    assert performance_baseline(settings, []).gpu.peak_memory_used_gb is None


# The event log and the exporter that follows it
