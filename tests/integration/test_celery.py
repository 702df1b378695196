"""A backfill of eight collections on two Celery workers in networks of their own, with two Tritons."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import dagster as dg
import psutil
import pytest

from embedder_assets.serving.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings
from tests.homes import differences
from tests.integration import namespaces, redis
from tests.integration.cluster import Cluster, kill
from tests.integration.conftest import Embedder, instance_of, write
from tests.integration.postgres import Postgres
from tests.integration.processes import eventually

pytestmark = pytest.mark.usefixtures("own_ports")
NAMES = [f"collection-{number}" for number in range(8)]
# The run that is struck, long enough to be caught at work.
LARGE = NAMES[3]
ON, ENDED_WELL = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS
SETTINGS = {"EMBEDDER_MAX_SYNTHETIC_QUERIES": "2", "EMBEDDER_REQUEST_BATCH_SIZE": "4"}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a Redis that the environment names."""
    server = redis.program()
    if server is None:
        pytest.skip("needs Redis (Debian: apt-get install redis-server)")
    with redis.running(server) as port:
        monkeypatch.setenv("DAGSTER_CELERY_BROKER", redis.url(port))
        yield port


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Eight collections, one of which is larger."""
    for name in NAMES:
        for number in range(40 if name == LARGE else 4):
            text = f"# Number {number} of {name}\n\n" + f"Words about topic {number} and {name}. " * 30
            write(tmp_path / "corpus" / name / f"{number}.md", text)
    return tmp_path / "corpus"


def test_a_backfill_on_two_workers_ends_with_the_tables_of_one_process_although_a_worker_and_a_triton_are_killed(
    home_on_postgres: Path, postgres: Postgres, broker: int, corpus: Path, tmp_path: Path, embedder: Embedder
) -> None:
    home = home_on_postgres
    repository = load_settings(environ={}).model_repository
    with ExitStack() as stack:
        tritons = [EmbeddedTriton(repository, tmp_path / name / "triton") for name in ("first", "second")]
        for triton in tritons:
            stack.callback(triton.stop, at_once=True)
        urls = [triton.address.grpc for triton in tritons]
        cluster = Cluster.made(home, EMBEDDER_CORPUS_DIR=str(corpus), EMBEDDER_TRITON_URL=",".join(urls), **SETTINGS)
        ports = [postgres.port, broker, *(int(url.rpartition(":")[2]) for url in urls)]
        workers = {name: stack.enter_context(apart(cluster, name, ports)) for name in ("one", "other")}
        cluster.backfill(NAMES)
        networks = {
            Path(f"/proc/{pid}/ns/net").readlink() for pid in (os.getpid(), *(each.pid for each in workers.values()))
        }
        assert len(networks) == (3 if namespaces.to_be_had() else 1)
        stack.enter_context(cluster.daemon())
        instance = stack.enter_context(instance_of(home))

        staging = home / "staging" / "dense_embeddings"
        assert eventually(lambda: any((staging / LARGE).rglob("*.parquet")), 180), told(instance)
        lost = cluster.runs(instance, ON)[LARGE]
        kill(workers[worker_of(instance, lost, workers)].pid)
        os.kill(tritons[0].pid, signal.SIGKILL)
        assert eventually(lambda: cluster.runs(instance, ENDED_WELL).keys() == {*NAMES}, 240), told(instance)
        runs = list(instance.get_runs())
        assert len(runs) == len(NAMES) + 1, told(instance)
        again = cluster.runs(instance, ENDED_WELL)[LARGE]
        assert again.parent_run_id == lost.run_id
        done_by = {name: tasks(home, name) for name in workers}
        assert min(done_by.values()) > 0
        assert sum(done_by.values()) == len(runs)
    reference = tmp_path / "one-process"
    result = embedder(
        *("run", "--corpus", str(corpus)),
        **{**SETTINGS, "EMBEDDER_HOME": str(reference), "DAGSTER_HOME": str(reference / "dagster")},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert differences(home, reference) == []


@contextmanager
def apart(cluster: Cluster, name: str, ports: Sequence[int]) -> Iterator[psutil.Process]:
    """A worker in a network of its own; a mere process where this machine does not let us have one."""
    network = namespaces.network(ports) if namespaces.to_be_had() else nullcontext([])
    with network as inside, cluster.worker(name, inside) as worker:
        yield worker


def worker_of(instance: dg.DagsterInstance, run: dg.DagsterRun, workers: dict[str, psutil.Process]) -> str:
    """The worker that a run is on, by the session of its process."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None and pid.value:
            return next(name for name, worker in workers.items() if os.getsid(int(pid.value)) == worker.pid)
    raise AssertionError(f"run {run.run_id} has no process")


def tasks(home: Path, worker: str) -> int:
    """How many tasks a worker has begun."""
    return (home / f"{worker}.log").read_text("utf-8").count("received")


def told(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    return [(run.tags.get("dagster/partition", ""), run.status.value) for run in instance.get_runs()]
