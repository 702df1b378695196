"""Dagster's storage in a real PostgreSQL, with the instance file that Docker Compose uses."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from dagster._core.run_coordinator import QueuedRunCoordinator

from embedder_assets.assets.support.pool import POOL
from embedder_assets.instance.sqlite_event_log import open_instance
from embedder_assets.network.loopback import get
from tests.integration.operations.test_telemetry import exporter, scraped
from tests.support.command import BIN, Embedder, environment, write
from tests.support.homes import differences
from tests.support.model_repositories import exact_variables
from tests.support.processes import eventually, free_port
from tests.support.servers.postgres import PASSWORD, Postgres

# The values that say when and how fast, and not what.
TIMED = re.compile(r"(_created|_bucket|_sum|_timestamp_seconds)(\{| )")

LEASES = {"EMBEDDER_GPU_LEASE_POLICY": "exclusive"}


@pytest.fixture
def home(home_on_postgres: Path) -> Path:
    return home_on_postgres


def samples(home: Path) -> list[str]:
    """What a scrape shows, of times only that they are there."""
    with exporter(home, free_port()) as url:
        return [" ".join(line.split(" ")[:-1]) if TIMED.search(line) else line for line in scraped(url)]


def test_tables_and_metrics_equal_default_storage(embedder: Embedder, home: Path, corpus: Path, tmp_path: Path) -> None:
    default = tmp_path / "default"
    for first in (True, False):
        if not first:
            write(corpus / "animals" / "dog.md", "# The dog\n\nThe dog barks.\n")
        for folder in (home, default):
            result = embedder("run", "--corpus", str(corpus), EMBEDDER_HOME=str(folder), **LEASES, **exact_variables())
            assert result.returncode == 0, result.stdout + result.stderr
    assert differences(home, default) == []
    of_home = samples(home)
    assert of_home == samples(default)
    assert 'rag_runs_total{status="success"} 2.0' in of_home
    assert samples(home) == of_home
    assert (default / "dagster" / "history" / "runs" / "index.db").exists()
    assert not list((home / "dagster").rglob("*.db")), "something went to SQLite"
    with open_instance(home / "dagster") as instance:
        leases = instance.event_log_storage.get_concurrency_info(POOL)
    assert (leases.slot_count, leases.claimed_slots, leases.pending_steps) == (1, [], [])


def test_running_exporter_sees_the_next_run(embedder: Embedder, home: Path, corpus: Path) -> None:
    port = free_port()
    with exporter(home, port) as url:
        for runs in (1, 2):
            write(corpus / "animals" / "more.md", f"# More\n\nThere are {runs} kinds of more.\n")
            result = embedder("run", "--corpus", str(corpus), EMBEDDER_METRICS_PORT=str(port))
            assert "rag.rerank: emitted (rag_rerank_latency_seconds)" in result.stdout, result.stdout + result.stderr
            assert f'rag_runs_total{{status="success"}} {runs}.0' in scraped(url)


def test_the_instance_is_left_as_its_file_says(home: Path) -> None:
    folder = home / "dagster"
    with open_instance(folder) as ours, dg.DagsterInstance.from_config(str(folder)) as theirs:
        for part in ("event_log_storage", "run_storage", "schedule_storage"):
            storage = getattr(ours, part)
            assert type(storage) is type(getattr(theirs, part))
            assert type(storage).__module__.startswith("dagster_postgres.")
        assert ours.run_monitoring_enabled
        assert ours.run_retries_enabled
        assert isinstance(ours.run_coordinator, QueuedRunCoordinator)
        queue = ours.get_concurrency_config().run_queue_config
        assert queue is not None
        limit = {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        assert queue.tag_concurrency_limits == [limit]


def test_database_outage_is_one_sentence(embedder: Embedder, home: Path, corpus: Path, postgres: Postgres) -> None:
    postgres.stop()
    try:
        result = embedder("run", "--corpus", str(corpus))
    finally:
        postgres.start()
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "with PostgreSQL that the server answers" in result.stderr
    assert PASSWORD not in result.stderr
    again = embedder("run", "--corpus", str(corpus))
    assert again.returncode == 0, again.stdout + again.stderr


def test_lost_database_ends_the_run(home: Path, corpus: Path, postgres: Postgres) -> None:
    command = [str(BIN / "embedder"), "run", "--corpus", str(corpus)]
    process = subprocess.Popen(command, cwd=home.parent, env=environment(home), stderr=subprocess.PIPE, text=True)

    def statuses() -> list[str]:
        try:
            return [status for (status,) in postgres.query(home.parent.name, "SELECT status FROM runs ORDER BY id")]
        except psycopg2.errors.UndefinedTable:
            return []

    assert eventually(lambda: statuses() == ["STARTED"], 60)
    postgres.stop()
    try:
        said = process.communicate(timeout=200)[1]
    finally:
        process.kill()
        postgres.start()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "with PostgreSQL that the server answers" in said
    assert statuses() == ["STARTED"]
    for sign in (home / "locks" / "runs").iterdir():
        os.utime(sign, (0, 0))
    again = subprocess.run(command, cwd=home.parent, env=environment(home), capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert statuses() == ["FAILURE", "SUCCESS"]


def test_a_password_that_is_not_set_is_named(
    embedder: Embedder, home: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_POSTGRES_PASSWORD")
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "the variable DAGSTER_POSTGRES_PASSWORD, which is not set" in result.stderr


def test_times_ignore_the_servers_time_zone(home: Path) -> None:
    @dg.asset
    def thing() -> None: ...

    with open_instance(home / "dagster") as instance:
        record = instance.get_run_record_by_id(dg.materialize([thing], instance=instance).run_id)
    assert record is not None
    assert record.end_time is not None
    for at in (record.create_timestamp, record.update_timestamp):
        assert abs(at.timestamp() - record.end_time) < 60


def test_an_exporter_outlives_its_database(embedder: Embedder, home: Path, corpus: Path, postgres: Postgres) -> None:
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0, result.stdout + result.stderr
    with exporter(home, free_port()) as url:
        before = scraped(url)
        postgres.stop()
        try:
            with pytest.raises(OSError, match="HTTP Error 500"), get(url, 60):
                pass
        finally:
            postgres.start()
        assert scraped(url) == before
