"""The exporter that follows the event log: what it has counted, after a restart too."""

import dagster as dg
from prometheus_client import CollectorRegistry

from embedder_assets.telemetry.exporter.collector import event_log_collector
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from tests.support.factories import make_record
from tests.support.stage_records import ALL_STAGES, RICH, leave


def exporter_registry(instance: dg.DagsterInstance) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(event_log_collector(instance))
    return registry


def dump(registry: CollectorRegistry) -> dict[tuple, float]:
    samples = (sample for family in registry.collect() for sample in family.samples)
    return {
        (item.name, *sorted(item.labels.items())): item.value for item in samples if not item.name.endswith("_created")
    }


def test_exporter_counts_survive_a_restart(ephemeral):
    registry = exporter_registry(ephemeral)
    leave(ephemeral, RICH)
    assert dump(registry)[("rag_dense_latency_seconds_count",)] == 2
    leave(ephemeral, RICH, make_record("export", ended_at=1234.0))
    values = dump(registry)
    assert values[("rag_dense_latency_seconds_count",)] == 4
    assert values["rag_stage_items_total", ("outcome", "computed"), ("stage", "dense")] == 4
    assert values["rag_last_success_timestamp_seconds", ("collection", "kb")] == 1234.0
    assert dump(registry) == values
    assert values["rag_runs_total", ("status", "success")] == 2
    assert dump(exporter_registry(ephemeral)) == values


def test_failed_run_is_counted_once(ephemeral):
    registry = exporter_registry(ephemeral)

    @dg.op
    def broken() -> None:
        raise ValueError("no")

    @dg.job
    def job() -> None:
        broken()

    job.execute_in_process(instance=ephemeral, raise_on_error=False)
    for _ in range(3):
        assert dump(registry)["rag_runs_total", ("status", "failure")] == 1


def test_samples_of_run_match_the_histograms(ephemeral, monkeypatch):
    collector = event_log_collector(ephemeral)
    run_id = leave(ephemeral, RICH)
    assert collector.samples_of_run(run_id) == {"dense": 2, "sparse": 0, "rerank": 0, "export": 0}
    assert collector.samples_of_run("of another instance") is None
    monkeypatch.setattr(StageMetrics, "observe", lambda self, record: None)
    silent = leave(ephemeral, RICH)
    assert collector.samples_of_run(silent) == {"dense": 0, "sparse": 0, "rerank": 0, "export": 0}


def test_no_label_ever_holds_an_id(ephemeral):
    gpu = {"gpu_peak_bytes": {"GPU-1": 1}, "items": {"computed": 1}}
    records = [record.model_copy(update=gpu) for record in ALL_STAGES]
    registry = exporter_registry(ephemeral)
    run_id = leave(ephemeral, *records)
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
