"""Manifests of v4.0, which an earlier system wrote, read as v4.1: what is kept, and that nothing counts as proved."""

from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.file import read_manifest_file
from embedder_assets.telemetry.manifest.json_schema import problems_of
from embedder_assets.telemetry.manifest.v40 import NOT_RECORDED, UNPROVED, WARNING, upgrade
from tests.conftest import PROJECT

SAMPLES = PROJECT / "tests/unit/telemetry/manifest/samples"
BOTH_STAGES, OLD_NAMES = SAMPLES / "v40_both_stages.json", SAMPLES / "v40_old_names.json"
NOW = "2026-01-01T00:00:00+00:00"


def test_nothing_of_v40_counts_as_proved():
    manifest = read_manifest_file(BOTH_STAGES)
    assert {entry.status for entry in manifest.telemetry.metrics.values()} == {"skipped"}
    assert {stage: entry.reason for stage, entry in manifest.telemetry.metrics.items()} == {
        "dense": UNPROVED,
        "sparse": UNPROVED,
        "rerank": UNPROVED,
        "export": NOT_RECORDED,
    }
    assert {span.status for span in manifest.telemetry.spans.values()} == {"recorded"}
    assert manifest.compatibility.upgraded_from == "v4.0"
    assert WARNING in manifest.warnings


def test_what_v40_recorded_is_kept():
    manifest = read_manifest_file(BOTH_STAGES)
    assert (manifest.collections, manifest.chunk_count, manifest.status) == (["handbook"], 1432, "unknown")
    assert manifest.generated_at == "2025-10-24T09:12:44.103911+00:00"
    assert manifest.dense_run and manifest.sparse_run and manifest.rerank_run
    assert manifest.dense_run.models_executed == ["jina-code", "bge-m3"]
    assert (manifest.sparse_run.coverage_ratio, manifest.sparse_run.fallback_reason) == (0.9085, "metadata")
    assert (manifest.dense_run.status, manifest.dense_run.reason) == ("unknown", f"status {NOT_RECORDED}")
    assert (manifest.rerank_run.status, manifest.rerank_run.candidate_count) == ("ok", 100)
    assert (manifest.rerank_run.latency_ms, manifest.rerank_run.batch_size) == (1843.2, 32)
    assert manifest.rerank_run.models == {"jina-reranker-v3": NOT_RECORDED}
    gpu = manifest.performance_baseline.gpu
    assert (gpu.status, gpu.soft_limit_devices, gpu.devices) == ("exceeded_soft_limit", ["0"], {"0": 11.5, "1": 4.0})
    assert "low disk space" in manifest.warnings
    assert "gpu_lease_events: 2 entries of v4.0 are left out; they name no stage" in manifest.warnings


def test_query_text_of_v40_is_left_out():
    assert "how are leases released" in BOTH_STAGES.read_text("utf-8")
    assert "how are leases released" not in read_manifest_file(BOTH_STAGES).model_dump_json()


def test_incomplete_v40_under_old_names_reads():
    manifest = read_manifest_file(OLD_NAMES)
    assert manifest.sparse_run is None
    assert manifest.rerank_run is not None
    assert (manifest.rerank_run.status, manifest.rerank_run.reason) == ("unknown", "status 'staged' of v4.0")
    assert set(manifest.telemetry.spans) == {"rag.rerank"}
    assert manifest.telemetry.metrics["sparse"].reason == "disabled via EMBEDDER_ENABLE_SPARSE"
    assert manifest.feature_toggles.model_dump(exclude_none=True) == {
        "enable_sparse": {"value": False, "provenance": "EMBEDDER_ENABLE_SPARSE"},
        "enable_rerank": {"value": True, "provenance": NOT_RECORDED},
    }
    assert manifest.performance_baseline.gpu.status == "no_gpu"
    assert f"chunk_count: {NOT_RECORDED}" in manifest.warnings
    assert "rag.rerank: skipped (not recorded by v4.0)" in render_footer(manifest)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "emitted", "x", "failed", "2025-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "name", "enabled", "vectors", "spans", "gpu", "models", "dense"]), inner
        )
    ),
    max_leaves=8,
)
TOP = [
    *(
        "run_id",
        "generated_at",
        "collections",
        "collection",
        "chunk_count",
        "feature_toggles",
        "dense_run",
        "telemetry",
    ),
    *("sparse_stage", "rerank_run", "performance_baseline", "lease_events", "warnings"),
]


@given(st.dictionaries(st.sampled_from(TOP), json_values))
def test_upgrade_of_any_v40_fits_the_schema(old):
    upgraded = {key: value for key, value in upgrade(old, NOW).items() if value is not None}
    assert problems_of(upgraded) == []
    assert {entry["status"] for entry in upgraded["telemetry"]["metrics"].values()} == {"skipped"}
    assert set(upgraded["telemetry"]["metrics"]) == set(LATENCY_METRICS)
