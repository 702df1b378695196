"""The series that the exporter makes of the records of stages."""

import pytest
from prometheus_client import CollectorRegistry

from embedder_assets.embedding.fallback import REASONS
from embedder_assets.telemetry.exporter.metrics import FALLBACK_REASONS, RUN_STATUSES, StageMetrics
from tests.support.factories import GB, make_record


@pytest.fixture
def metrics() -> StageMetrics:
    return StageMetrics(CollectorRegistry())


def test_observed_records_become_the_documented_series(metrics):
    sparse = {"coverage": {"kb": 0.5}, "gpu_peak_bytes": {"GPU-1": 2 * GB}, "items": {"computed": 3}}
    metrics.observe(make_record("sparse", batch_latencies_s=[0.2, 0.3], **sparse))
    metrics.observe(make_record("rerank", fallback_used=True, fallback_reason="out_of_memory"))
    metrics.observe(make_record("export", collections=["kb", "docs"], ended_at=1234.0))
    value = metrics.registry.get_sample_value
    assert value("rag_sparse_latency_seconds_count") == 2
    assert value("rag_sparse_latency_seconds_sum") == pytest.approx(0.5)
    assert value("rag_sparse_coverage_ratio", {"collection": "kb"}) == 0.5
    assert value("rag_gpu_peak_bytes", {"stage": "sparse", "device": "GPU-1"}) == 2 * GB
    assert value("rag_stage_items_total", {"stage": "sparse", "outcome": "computed"}) == 3
    assert value("rag_rerank_fallback_total", {"reason": "out_of_memory"}) == 1
    for collection in ("kb", "docs"):
        assert value("rag_last_success_timestamp_seconds", {"collection": collection}) == 1234.0


def test_coverage_of_a_stage_that_is_off_ends():
    """Its alert would fire until the stage is on again."""
    metrics = StageMetrics(CollectorRegistry())
    for name in ("kb", "other"):
        metrics.observe(make_record("sparse", collections=[name], coverage={name: 0.5}))
    metrics.observe(make_record("sparse", "off", collections=["kb"]))
    value = metrics.registry.get_sample_value
    assert value("rag_sparse_coverage_ratio", {"collection": "kb"}) is None
    assert value("rag_sparse_coverage_ratio", {"collection": "other"}) == 0.5


def test_lexical_vectors_are_no_sparse_samples(metrics):
    sparse = {"batch_latencies_s": [0.2], "coverage": {"kb": 0.5}, "items": {"fallback": 3}}
    metrics.observe(make_record("sparse", fallback_used=True, fallback_reason="model_unavailable", **sparse))
    value = metrics.registry.get_sample_value
    assert value("rag_sparse_latency_seconds_count") == 0
    assert value("rag_sparse_coverage_ratio", {"collection": "kb"}) is None
    assert value("rag_stage_items_total", {"stage": "sparse", "outcome": "fallback"}) == 3


def test_only_successful_exports_move_last_success(metrics):
    metrics.observe(make_record("export", "failed", reason="disk full"))
    metrics.observe(make_record("dense"))
    assert metrics.registry.get_sample_value("rag_last_success_timestamp_seconds", {"collection": "kb"}) is None


def test_a_stage_that_was_off_adds_no_sample(metrics):
    def samples():
        families = metrics.registry.collect()
        return {(item.name, *item.labels.values()): item.value for family in families for item in family.samples}

    before = samples()
    metrics.observe(make_record("rerank", "off", batch_latencies_s=[1.0], items={"computed": 1}))
    assert samples() == before


def test_fallback_reasons_are_those_of_stages():
    assert set(FALLBACK_REASONS) == set(REASONS.values())


def test_fallback_and_run_series_begin_at_zero(metrics):
    value = metrics.registry.get_sample_value
    assert {value("rag_rerank_fallback_total", {"reason": reason}) for reason in FALLBACK_REASONS} == {0}
    assert {value("rag_runs_total", {"status": status}) for status in RUN_STATUSES} == {0}


def test_series_of_a_collection_that_is_gone_end(metrics):
    for collection in ("kb", "gone"):
        metrics.observe(make_record("export", collections=[collection]))
        metrics.observe(make_record("sparse", collections=[collection], coverage={collection: 1.0}))
    metrics.keep_only(["kb"])
    for name in ("rag_last_success_timestamp_seconds", "rag_sparse_coverage_ratio"):
        assert metrics.registry.get_sample_value(name, {"collection": "kb"}) is not None
        assert metrics.registry.get_sample_value(name, {"collection": "gone"}) is None
