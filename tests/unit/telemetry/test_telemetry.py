import json
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry

from embedder_assets.embedding.fallback import REASONS
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE, RecordReader, as_observation, records_of_run
from embedder_assets.telemetry.exporter.collector import event_log_collector
from embedder_assets.telemetry.exporter.metrics import FALLBACK_REASONS, RUN_STATUSES, StageMetrics
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.schema import Manifest
from embedder_assets.telemetry.manifest.sections import performance_baseline
from embedder_assets.telemetry.manifest.summarize import RunFacts, summarize_run
from embedder_assets.telemetry.stage_record import StageMeter, StageRecord
from tests.support.factories import GB, make_meter, make_record, make_settings
from tests.support.processes import free_port

RUN_ID = "3f2b8c1e-9d4a-4c7b-8e6f-1a2b3c4d5e6f"
ALL_STAGES = [make_record(stage, batch_latencies_s=[0.1, 0.2]) for stage in ASSET_OF_STAGE]
OFF = make_record("rerank", "off", reason="disabled via cli:--disable-rerank")
FAILED = make_record("dense", "failed", reason="InferenceError: no answer")

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
def metrics() -> StageMetrics:
    return StageMetrics(CollectorRegistry())


@pytest.fixture
def summarize(settings):
    """Summarizes a run with these records, and returns manifest and path."""

    def summarize(*records: StageRecord, chosen=settings, run_id=RUN_ID, succeeded=True) -> tuple[Manifest, Path]:
        return summarize_run(chosen, records, RunFacts(run_id, succeeded, ["kb"], chunk_count=7))

    return summarize


def with_off(*off: StageRecord) -> list[StageRecord]:
    stages = {record.stage for record in off}
    return [record for record in ALL_STAGES if record.stage not in stages] + list(off)


# The meter and its record


def test_the_meter_keeps_every_batch_and_the_largest_size():
    meter = StageMeter("dense", ["kb"])
    for latency_s, size in [(0.5, 3), (0.25, 64), (0.75, 1)]:
        meter.batch(latency_s, size)
    record = meter.record()
    assert (record.batch_latencies_s, record.batch_size) == ([0.5, 0.25, 0.75], 64)
    assert (record.status, record.reason, record.items) == ("ok", None, {})
    assert record.started_at <= record.ended_at


@pytest.mark.parametrize("days", [-30, 30])
def test_stage_duration_ignores_clock_changes(monkeypatch, days):
    meter = make_meter()
    meter.count("computed", 3)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 24 * 3600)
    record = meter.record()
    assert 0 <= record.latency_s < 60
    assert meter.rate > 0


def test_the_meter_adds_up_items_by_outcome():
    meter = StageMeter("dense", ["kb"])
    for outcome, items in [("computed", 3), ("reused", 5), ("computed", 4)]:
        meter.count(outcome, items)
    assert meter.record().items == {"computed": 7, "reused": 5}
    assert meter.rate > 0


def test_a_record_does_not_change_with_its_meter():
    meter = StageMeter("dense", ["kb"])
    record = meter.record()
    meter.batch(1.0, 1)
    meter.cover("kb", 1.0)
    assert (record.batch_latencies_s, record.items, record.coverage) == ([], {}, {})


def test_the_meter_keeps_the_highest_gpu_memory_per_device():
    meter = StageMeter("dense", [])
    for reading in ({"a": 3, "b": 1}, {"a": 2}, {"a": 1, "b": 9}):
        meter.record_gpu_memory(reading)
    assert meter.record().gpu_peak_bytes == {"a": 3, "b": 9}


# Metrics


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


def test_lexical_vectors_leave_no_sample_of_the_sparse_model(metrics):
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


# Manifest and footer


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


def test_a_failed_stage_has_a_section_with_its_reason(summarize):
    content = json.loads(summarize(FAILED, succeeded=False)[1].read_text())
    assert content["status"] == "failed"
    assert content["dense_run"]["reason"] == "InferenceError: no answer"
    assert "sparse_run" not in content


def test_the_latest_manifest_is_a_copy_of_the_newest(tmp_path, summarize):
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
def test_the_gpu_status_compares_each_device_with_the_limit(settings, peaks, status, devices):
    records = [make_record("dense", gpu_peak_bytes=peak) for peak in peaks]
    gpu = performance_baseline(settings, records).gpu
    assert (gpu.status, gpu.soft_limit_devices) == (status, devices)
    assert gpu.soft_limit_exceeded == bool(devices)
    assert gpu.soft_limit_gb == 12.0


def test_the_gpu_peak_is_the_highest_of_all_stages(settings):
    records = [make_record("dense", gpu_peak_bytes={"a": 3 * GB}), make_record("sparse", gpu_peak_bytes={"a": GB})]
    assert performance_baseline(settings, records).gpu.peak_memory_used_gb == 3.0
    assert performance_baseline(settings, []).gpu.peak_memory_used_gb is None


# The event log and the exporter that follows it


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def leave(instance: dg.DagsterInstance, *records: StageRecord, then_raise: bool = False) -> str:
    """A Dagster run whose assets leave these records; returns its run id."""

    def asset_of(record: StageRecord):
        @dg.asset(name=ASSET_OF_STAGE[record.stage])
        def stage():
            yield as_observation(record)
            if then_raise:
                raise RuntimeError("after the record")
            yield dg.MaterializeResult()

        return stage

    result = dg.materialize([asset_of(record) for record in records], instance=instance, raise_on_error=False)
    assert result.success is not then_raise
    return result.run_id


RICH = make_record(
    "dense",
    batch_latencies_s=[0.1, 0.2],
    items={"computed": 2},
    coverage={"kb": 1.0},
    attributes={"models_executed": ["m"]},
)


@pytest.mark.parametrize("then_raise", [False, True])
def test_record_of_failed_asset_is_logged(instance, then_raise):
    run_id = leave(instance, RICH, then_raise=then_raise)
    assert records_of_run(instance, run_id) == [RICH]


def test_each_run_has_only_its_own_records(instance):
    first, second = leave(instance, RICH), leave(instance, OFF, FAILED)
    assert records_of_run(instance, first) == [RICH]
    assert {record.stage for record in records_of_run(instance, second)} == {"rerank", "dense"}


def test_observations_of_others_are_passed_over(instance):
    @dg.asset(name="chunks")
    def chunks():
        yield dg.AssetObservation("chunks", metadata={"note": "by hand"})
        yield dg.MaterializeResult()

    run_id = dg.materialize([chunks], instance=instance).run_id
    assert records_of_run(instance, run_id) == []
    assert list(RecordReader(instance).new_records()) == []


def test_the_event_describes_itself():
    assert as_observation(OFF).description == "rag.rerank: off (disabled via cli:--disable-rerank)"
    assert as_observation(RICH).description == "rag.dense: ok"


def test_record_reader_yields_each_record_once(instance, monkeypatch):
    monkeypatch.setattr("embedder_assets.telemetry.event_log.PAGE", 2)
    reader = RecordReader(instance)
    assert list(reader.new_records()) == []
    for _ in range(5):
        leave(instance, RICH)
    assert [record for _, record in reader.new_records()] == [RICH] * 5
    assert list(reader.new_records()) == []
    run_id = leave(instance, OFF)
    assert list(reader.new_records()) == [(run_id, OFF)]


def exporter_registry(instance: dg.DagsterInstance) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(event_log_collector(instance))
    return registry


def dump(registry: CollectorRegistry) -> dict[tuple, float]:
    samples = (sample for family in registry.collect() for sample in family.samples)
    return {
        (item.name, *sorted(item.labels.items())): item.value for item in samples if not item.name.endswith("_created")
    }


def test_exporter_counts_survive_a_restart(instance):
    registry = exporter_registry(instance)
    leave(instance, RICH)
    assert dump(registry)[("rag_dense_latency_seconds_count",)] == 2
    leave(instance, RICH, make_record("export", ended_at=1234.0))
    values = dump(registry)
    assert values[("rag_dense_latency_seconds_count",)] == 4
    assert values["rag_stage_items_total", ("outcome", "computed"), ("stage", "dense")] == 4
    assert values["rag_last_success_timestamp_seconds", ("collection", "kb")] == 1234.0
    assert dump(registry) == values
    assert values["rag_runs_total", ("status", "success")] == 2
    assert dump(exporter_registry(instance)) == values


def test_failed_run_is_counted_once(instance):
    registry = exporter_registry(instance)

    @dg.op
    def broken() -> None:
        raise ValueError("no")

    @dg.job
    def job() -> None:
        broken()

    job.execute_in_process(instance=instance, raise_on_error=False)
    for _ in range(3):
        assert dump(registry)["rag_runs_total", ("status", "failure")] == 1


def test_samples_of_run_match_the_histograms(instance, monkeypatch):
    collector = event_log_collector(instance)
    run_id = leave(instance, RICH)
    assert collector.samples_of_run(run_id) == {"dense": 2, "sparse": 0, "rerank": 0, "export": 0}
    assert collector.samples_of_run("of another instance") is None
    monkeypatch.setattr(StageMetrics, "observe", lambda self, record: None)
    silent = leave(instance, RICH)
    assert collector.samples_of_run(silent) == {"dense": 0, "sparse": 0, "rerank": 0, "export": 0}


def test_no_label_ever_holds_an_id(instance):
    gpu = {"gpu_peak_bytes": {"GPU-1": 1}, "items": {"computed": 1}}
    records = [record.model_copy(update=gpu) for record in ALL_STAGES]
    registry = exporter_registry(instance)
    run_id = leave(instance, *records)
    labels = [sample.labels for family in registry.collect() for sample in family.samples]
    assert {name for item in labels for name in item} <= {
        "stage",
        "device",
        "collection",
        "reason",
        "outcome",
        "le",
        "status",
    }
    assert not [item for item in labels if run_id in str(item)]


def test_the_words_of_fallbacks_are_those_of_the_stages():
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
