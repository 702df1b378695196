"""The event log that keeps its connections, on real instances on disk."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import event
from sqlalchemy.pool import Pool

from embedder_assets.instance.sqlite_event_log import MAX_OPEN_DATABASES, PooledSqliteEventLogStorage, open_instance
from embedder_assets.run import dagster_instance
from embedder_assets.settings import load_settings


@dg.asset
def thing(context: dg.AssetExecutionContext) -> None:
    for number in range(5):
        context.log.info(str(number))


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with dagster_instance(load_settings({"home": (tmp_path, "test")}, environ={})) as opened:
        yield opened


def log_of(instance: DagsterInstance) -> PooledSqliteEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, PooledSqliteEventLogStorage)
    return storage


def defaults_of(instance: DagsterInstance) -> SqliteEventLogStorage:
    """Dagster's own class on the same files."""
    return SqliteEventLogStorage(str(Path(instance.root_directory) / "history" / "runs"))


@contextmanager
def connections() -> Iterator[list[object]]:
    made: list[object] = []

    def note(connection: object, _: object) -> None:
        made.append(connection)

    event.listen(Pool, "connect", note)
    try:
        yield made
    finally:
        event.remove(Pool, "connect", note)


def materialize(instance: DagsterInstance) -> str:
    return dg.materialize([thing], instance=instance).run_id


def test_an_open_database_is_not_opened_again(instance):
    materialize(instance)
    with connections() as made:
        for number in range(20):
            instance.report_runless_asset_event(AssetMaterialization("thing", description=str(number)))
    # The events without a run have a database of their own, and one look is for a table of the index.
    assert 0 < len(made) <= 2
    with connections() as made:
        for number in range(20):
            instance.report_runless_asset_event(AssetMaterialization("thing", description=str(number)))
    assert made == []


def test_dagsters_class_reads_open_event_logs(instance):
    run_id = materialize(instance)
    ours = [entry.to_json() for entry in instance.all_logs(run_id)]
    assert len(ours) > 5
    assert [entry.to_json() for entry in defaults_of(instance).get_logs_for_run(run_id)] == ours
    assert defaults_of(instance).has_asset_key(AssetKey("thing"))


def test_writes_of_dagsters_class_are_seen_immediately(instance):
    materialize(instance)
    log_of(instance).add_dynamic_partitions("collection", ["a"])
    defaults_of(instance).add_dynamic_partitions("collection", ["b"])
    assert instance.get_dynamic_partitions("collection") == ["a", "b"]


def test_more_runs_than_cached_databases_are_readable(instance):
    runs = [materialize(instance) for _ in range(MAX_OPEN_DATABASES + 2)]
    lengths = {len(instance.all_logs(run_id)) for run_id in [*runs, *runs]}
    assert len(lengths) == 1
    assert lengths.pop() > 5


def test_threads_take_turns(instance):
    materialize(instance)
    names = [f"{thread}-{number}" for thread in range(4) for number in range(10)]

    def add(thread: int) -> None:
        for name in (name for name in names if name.startswith(f"{thread}-")):
            instance.add_dynamic_partitions("collection", [name])

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(instance.get_dynamic_partitions("collection")) == sorted(names)


def test_a_log_can_be_wiped_and_filled_again(instance):
    first = materialize(instance)
    instance.event_log_storage.wipe()
    assert instance.all_logs(first) == []
    assert instance.all_logs(materialize(instance))


def test_failed_write_is_rolled_back(instance):
    materialize(instance)
    storage = log_of(instance)
    with pytest.raises(ZeroDivisionError), storage.index_connection() as connection:
        connection.exec_driver_sql("DELETE FROM asset_keys")
        raise ZeroDivisionError
    assert storage.has_asset_key(AssetKey("thing"))


def test_dagsters_tools_open_the_instance_without_a_variable(instance, monkeypatch):
    run_id = materialize(instance)
    monkeypatch.delenv("DAGSTER_HOME")
    with DagsterInstance.from_config(instance.root_directory) as other:
        assert type(other.event_log_storage) is SqliteEventLogStorage
        assert other.get_run_by_id(run_id).is_success
        assert len(other.all_logs(run_id)) > 5


def test_an_instance_on_another_storage_is_left_alone(tmp_path):
    folder = tmp_path / "log"
    (tmp_path / "dagster.yaml").write_text(
        "event_log_storage:\n"
        "  module: dagster._core.storage.event_log\n"
        "  class: ConsolidatedSqliteEventLogStorage\n"
        f"  config: {{base_dir: {folder}}}\n"
    )
    with open_instance(tmp_path) as opened:
        assert isinstance(opened.event_log_storage, ConsolidatedSqliteEventLogStorage)


def test_at_the_end_nothing_stays_open(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with dagster_instance(load_settings({"home": (tmp_path, "test")}, environ={})) as opened:
        materialize(opened)
    # SQLite removes the log of a database when its last connection is closed.
    assert list((tmp_path / "dagster" / "history" / "runs").glob("*.db"))
    assert not list((tmp_path / "dagster" / "history" / "runs").glob("*.db-wal"))
