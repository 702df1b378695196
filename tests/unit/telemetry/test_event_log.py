"""The readers of the event log, on real SQLite instances from which events are taken away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry

from embedder_assets.run import dagster_instance
from embedder_assets.settings import load_settings
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE, RecordReader, as_observation, records_of_run
from embedder_assets.telemetry.exporter.collector import RecordCollector, event_log_collector
from embedder_assets.telemetry.exporter.live_state import StateCollector
from embedder_assets.telemetry.stage_record import StageRecord
from tests.support.factories import make_record
from tests.support.stage_records import FAILED, OFF, RICH, leave

KB = dg.StaticPartitionsDefinition(["kb"])
DAYS_AHEAD = 10 * 24 * 60 * 60


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with dagster_instance(load_settings({"home": (tmp_path, "test")}, environ={})) as opened:
        yield opened


def run(instance: dg.DagsterInstance, *, batches: int = 2, rows: int = 3, fails: bool = False) -> str:
    """A run whose dense stage leaves a record, and that may fail right after it; gives its id."""
    record: StageRecord = make_record("dense", batch_latencies_s=[0.1] * batches)

    @dg.asset(name=ASSET_OF_STAGE["dense"], partitions_def=KB)
    def stage() -> Iterator[dg.AssetObservation | dg.MaterializeResult[None]]:
        yield as_observation(record)
        if fails:
            raise RuntimeError("after the record")
        yield dg.MaterializeResult(metadata={"dagster/row_count": rows})

    result = dg.materialize([stage], instance=instance, partition_key="kb", raise_on_error=False)
    assert result.success is not fails
    return result.run_id


def scraped(collector: RecordCollector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    samples = [sample for family in registry.collect() for sample in family.samples]
    counts = {sample.labels["status"]: sample.value for sample in samples if sample.name == "rag_runs_total"}
    [dense] = [sample.value for sample in samples if sample.name == "rag_dense_latency_seconds_count"]
    return {**counts, "dense": dense}


def rows_of(state: StateCollector) -> dict[str, float]:
    [family] = [family for family in state.collect() if family.name == "rag_table_rows"]
    return {sample.labels["table"]: sample.value for sample in family.samples}


@pytest.mark.parametrize("fails", [True, False])
def test_a_deleted_run_hides_no_later_run(instance, fails):
    collector = event_log_collector(instance)
    run(instance)
    deleted = run(instance, batches=5, fails=fails)
    before = scraped(collector)
    instance.delete_run(deleted)
    for number in range(1, 4):
        later = run(instance, batches=3)
        assert collector.samples_of_run(later) == {"dense": 3, "sparse": 0, "rerank": 0, "export": 0}
        now = scraped(collector)
        assert now["dense"] == before["dense"] + 3 * number
        assert now["success"] == before["success"] + number
        assert now["failure"] == before["failure"]


def test_successively_deleted_runs_all_count(instance):
    """A run that is deleted and made again has the very same event ids."""
    collector = event_log_collector(instance)
    for number in range(1, 5):
        run_id = run(instance)
        assert scraped(collector)["dense"] == 2 * number
        assert scraped(collector)["success"] == number
        instance.delete_run(run_id)


def test_unread_deleted_run_hides_nothing(instance):
    collector = event_log_collector(instance)
    run(instance)
    assert scraped(collector)["dense"] == 2
    instance.delete_run(run(instance, batches=7))
    later = run(instance)
    samples = collector.samples_of_run(later)
    assert samples is not None
    assert samples["dense"] == 2
    assert scraped(collector)["dense"] == 4


def test_after_a_wiped_log_every_run_counts(instance):
    collector = event_log_collector(instance)
    for _ in range(3):
        run(instance)
    assert scraped(collector)["dense"] == 6
    instance.wipe()
    assert scraped(collector)["dense"] == 6
    later = run(instance)
    samples = collector.samples_of_run(later)
    assert samples is not None
    assert samples["dense"] == 2
    assert scraped(collector) == {"dense": 8, "success": 4, "failure": 0, "canceled": 0}


def test_wiped_asset_with_fast_clock_hides_nothing(instance, monkeypatch):
    collector = event_log_collector(instance)
    run(instance)
    scraped(collector)
    with monkeypatch.context() as ahead:
        ahead.setattr(
            "dagster._core.storage.event_log.sql_event_log.get_current_timestamp", lambda: time.time() + DAYS_AHEAD
        )
        instance.wipe_assets([dg.AssetKey(ASSET_OF_STAGE["dense"])])
    later = run(instance)
    samples = collector.samples_of_run(later)
    assert samples is not None
    assert samples["dense"] == 2


def test_new_instance_in_same_place_is_followed(instance, tmp_path, monkeypatch):
    collector = event_log_collector(instance)
    run(instance)
    run(instance)
    assert scraped(collector)["dense"] == 4
    shutil.rmtree(tmp_path / "dagster")
    with dagster_instance(load_settings({"home": (tmp_path, "test")}, environ={})) as anew:
        later = run(anew)
    samples = collector.samples_of_run(later)
    assert samples is not None
    assert samples["dense"] == 2
    assert scraped(collector) == {"dense": 6, "success": 3, "failure": 0, "canceled": 0}


def test_run_with_fast_clock_hides_none(instance, monkeypatch):
    collector = event_log_collector(instance)
    real = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: real() + DAYS_AHEAD)
        ahead.setattr("dagster._core.storage.runs.sql_run_storage.get_current_datetime", _days_ahead)
        run(instance)
    assert scraped(collector)["success"] == 1
    for number in range(2, 4):
        run(instance)
        assert scraped(collector)["success"] == number
        assert scraped(collector)["dense"] == 2 * number


def test_rows_follow_the_run_that_reuses_deleted_ids(instance):
    state = StateCollector(instance, [], lambda: ["kb"])
    run(instance, rows=3)
    deleted = run(instance, rows=4)
    assert rows_of(state) == {"dense_embeddings": 4}
    instance.delete_run(deleted)
    run(instance, rows=5)
    assert rows_of(state) == {"dense_embeddings": 5}


def test_a_reader_with_small_pages_reads_all_again(instance, monkeypatch):
    monkeypatch.setattr("embedder_assets.telemetry.event_log.PAGE", 2)
    monkeypatch.setattr("embedder_assets.telemetry.event_log.OVERLAP", 0)
    collector = event_log_collector(instance)
    runs = [run(instance) for _ in range(5)]
    assert scraped(collector)["dense"] == 10
    for run_id in runs[2:]:
        instance.delete_run(run_id)
    run(instance)
    assert scraped(collector) == {"dense": 12, "success": 6, "failure": 0, "canceled": 0}


def _days_ahead():
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) + timedelta(days=10)


@pytest.mark.parametrize("then_raise", [False, True])
def test_record_of_failed_asset_is_logged(ephemeral, then_raise):
    run_id = leave(ephemeral, RICH, then_raise=then_raise)
    assert records_of_run(ephemeral, run_id) == [RICH]


def test_each_run_has_only_its_own_records(ephemeral):
    first, second = leave(ephemeral, RICH), leave(ephemeral, OFF, FAILED)
    assert records_of_run(ephemeral, first) == [RICH]
    assert {record.stage for record in records_of_run(ephemeral, second)} == {"rerank", "dense"}


def test_observations_of_others_are_passed_over(ephemeral):
    @dg.asset(name="chunks")
    def chunks():
        yield dg.AssetObservation("chunks", metadata={"note": "by hand"})
        yield dg.MaterializeResult()

    run_id = dg.materialize([chunks], instance=ephemeral).run_id
    assert records_of_run(ephemeral, run_id) == []
    assert list(RecordReader(ephemeral).new_records()) == []


def test_the_event_describes_itself():
    assert as_observation(OFF).description == "rag.rerank: off (disabled via cli:--disable-rerank)"
    assert as_observation(RICH).description == "rag.dense: ok"


def test_record_reader_yields_each_record_once(ephemeral, monkeypatch):
    monkeypatch.setattr("embedder_assets.telemetry.event_log.PAGE", 2)
    reader = RecordReader(ephemeral)
    assert list(reader.new_records()) == []
    for _ in range(5):
        leave(ephemeral, RICH)
    assert [record for _, record in reader.new_records()] == [RICH] * 5
    assert list(reader.new_records()) == []
    run_id = leave(ephemeral, OFF)
    assert list(reader.new_records()) == [(run_id, OFF)]
