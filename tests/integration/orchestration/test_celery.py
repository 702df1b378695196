"""A backfill of the shards of a collection on two Celery workers in networks of their own, with two Tritons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedder_assets.automation.jobs import rag_tables
from embedder_assets.automation.shards import shard_vectors
from embedder_assets.export.export import export_folder, read_manifest
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.event_log import records_of_run
from tests.integration.storage.test_s3_delivery import delivered
from tests.integration.storage.test_s3_sync import put
from tests.support.command import BIN, environment, instance_of, write
from tests.support.homes import differences, table_differences
from tests.support.model_repositories import exact_repository, exact_variables
from tests.support.processes import eventually
from tests.support.servers import namespaces, redis
from tests.support.servers.cluster import Cluster, kill
from tests.support.servers.object_store import ObjectStore
from tests.support.servers.postgres import Postgres

pytestmark = pytest.mark.usefixtures("own_ports")
NAME = "manuals"
KEYS = {f"{NAME}|{shard}" for shard in range(4)}
ON, ENDED_WELL = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS
Job = dg.JobDefinition | UnresolvedAssetJobDefinition
SETTINGS = {
    "EMBEDDER_REQUEST_BATCH_SIZE": "4",
    "EMBEDDER_SETTLE_S": "4",
    "EMBEDDER_SHARDS": str(len(KEYS)),
}


@pytest.fixture(autouse=True)
def exact_models(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards put texts into other batches than a single process does."""
    for name, value in exact_variables().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a Redis that the environment names."""
    server = redis.program()
    if server is None:
        pytest.skip("needs Redis (Debian: apt-get install redis-server)")
    with redis.running(server) as port:
        monkeypatch.setenv("DAGSTER_CELERY_BROKER", redis.url(port))
        yield port


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One collection, enough for a run on a shard to be caught at work."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(120):
        text = f"# Number {number}\n\n" + f"Words about topic {number} of {NAME}. " * 30
        write(folder / NAME / f"{number}.md", text)
    # Two instead of the fifty that headings would make: ranking is not what takes time here.
    queries = (json.dumps({"_id": f"q{number}", "text": f"topic {number}"}) for number in (1, 2))
    write(folder / NAME / "queries.jsonl", "\n".join(queries) + "\n")
    return folder


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """The home of one process that has done the same."""
    home = tmp_path_factory.mktemp("one-process")
    own = environment(home, DAGSTER_HOME=str(home / "dagster"), **SETTINGS, **exact_variables())
    command = [str(BIN / "embedder"), "run", "--corpus", str(corpus)]
    result = subprocess.run(command, cwd=home, env=own, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    return home


@pytest.fixture
def tritons(tmp_path: Path) -> Iterator[list[EmbeddedTriton]]:
    """Two servers."""
    repository = exact_repository()
    with ExitStack() as stack:
        servers = [
            EmbeddedTriton(repository, tmp_path / name / "triton", access=ServerAccess(secret=None))
            for name in ("first", "second")
        ]
        for server in servers:
            stack.callback(server.stop, at_once=True)
        yield servers


def test_shards_survive_killed_worker_and_triton(
    home_on_postgres: Path,
    postgres: Postgres,
    broker: int,
    corpus: Path,
    tritons: list[EmbeddedTriton],
    in_one_process: Path,
) -> None:
    home = home_on_postgres
    cluster = Cluster.made(home, EMBEDDER_CORPUS_DIR=str(corpus), EMBEDDER_TRITON_URL=urls(tritons), **SETTINGS)
    ports = [postgres.port, broker, *ports_of(tritons)]
    with ExitStack() as stack:
        workers = {name: stack.enter_context(apart(cluster, name, ports)) for name in ("one", "other")}
        cluster.materialize(NAME, "documents", "chunks")
        cluster.backfill_shards(KEYS)
        networks = {
            Path(f"/proc/{pid}/ns/net").readlink() for pid in (os.getpid(), *(each.pid for each in workers.values()))
        }
        assert len(networks) == (3 if namespaces.to_be_had() else 1)
        stack.enter_context(cluster.daemon())
        instance = stack.enter_context(instance_of(home))

        staging = home / "staging" / "dense_embeddings"
        assert eventually(lambda: any((staging / NAME).rglob("*.parquet")), 180), run_states(instance)
        shard, lost = next(iter(cluster.runs(instance, ON).items()))
        kill(workers[worker_of(instance, lost, workers)].pid)
        os.kill(tritons[0].pid, signal.SIGKILL)
        assert eventually(lambda: ended_well(instance, rag_tables) == [NAME], 240), run_states(instance)
        assert cluster.runs(instance, ENDED_WELL)[shard].parent_run_id == lost.run_id
        assert ended_well(instance, shard_vectors) == sorted(KEYS)
        assert computed_by_the_collection(instance) == {"dense": 0, "sparse": 0}
        # Documents and chunks, the shards and the one that was lost, and the collection.
        assert len(instance.get_runs()) == 1 + len(KEYS) + 1 + 1, run_states(instance)
        done_by = {name: tasks(home, name) for name in workers}
        assert min(done_by.values()) > 0
        assert sum(done_by.values()) == len(KEYS) + 1 + 1
    assert differences(home, in_one_process) == []


def test_shards_on_two_hosts_equal_one(
    home_on_postgres: Path,
    postgres: Postgres,
    broker: int,
    corpus: Path,
    tritons: list[EmbeddedTriton],
    in_one_process: Path,
    object_store: ObjectStore,
    url: str,
) -> None:
    home = home_on_postgres
    put(f"{url}/corpus", corpus)
    places = {
        "EMBEDDER_CORPUS_URL": f"{url}/corpus",
        "EMBEDDER_TABLES_URL": f"{url}/tables",
        "EMBEDDER_EXPORTS_URL": f"{url}/exports",
    }
    cluster = Cluster.made(home, **places, EMBEDDER_TRITON_URL=urls(tritons), **SETTINGS)
    ports = [postgres.port, broker, *ports_of(tritons), object_store.ports["s3"][0]]
    hosts = {name: home.parent / name for name in ("one", "other")}
    with ExitStack() as stack:
        for name, own in hosts.items():
            stack.enter_context(apart(cluster, name, ports, own))
        cluster.materialize(NAME, "documents", "chunks")
        cluster.backfill_shards(KEYS)
        stack.enter_context(cluster.daemon())
        instance = stack.enter_context(instance_of(home))
        assert eventually(lambda: bool(cluster.runs(instance, ON)), 180), run_states(instance)
        os.kill(tritons[0].pid, signal.SIGKILL)
        assert eventually(lambda: ended_well(instance, rag_tables) == [NAME], 240), run_states(instance)
        assert ended_well(instance, shard_vectors) == sorted(KEYS)
        assert computed_by_the_collection(instance) == {"dense": 0, "sparse": 0}
        assert min(tasks(home, name) for name in hosts) > 0
    assert table_differences(TableStore(home, f"{url}/tables"), TableStore(in_one_process)) == []
    assert not any((path / "tables").exists() or (path / "staging").exists() for path in hosts.values())
    manifest = read_manifest(export_folder(in_one_process, NAME))
    assert manifest is not None
    assert delivered(f"{url}/exports", NAME).keys() == {entry["name"] for entry in manifest["files"]}


def urls(tritons: Sequence[EmbeddedTriton]) -> str:
    return ",".join(triton.address.grpc for triton in tritons)


def ports_of(tritons: Sequence[EmbeddedTriton]) -> list[int]:
    return [int(triton.address.grpc.rpartition(":")[2]) for triton in tritons]


@contextmanager
def apart(cluster: Cluster, name: str, ports: Sequence[int], home: Path | None = None) -> Iterator[psutil.Process]:
    """A worker in a network of its own; a mere process where this machine does not let us have one."""
    network = namespaces.network(ports) if namespaces.to_be_had() else nullcontext([])
    with network as inside, cluster.worker(name, inside, home) as worker:
        yield worker


def worker_of(instance: dg.DagsterInstance, run: dg.DagsterRun, workers: dict[str, psutil.Process]) -> str:
    """The worker that a run is on, by the session of its process."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None and pid.value:
            return next(name for name, worker in workers.items() if os.getsid(int(pid.value)) == worker.pid)
    raise AssertionError(f"run {run.run_id} has no process")


def ended_well(instance: dg.DagsterInstance, job: Job) -> list[str]:
    """The partition of each run of a job that has ended well, sorted."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=[ENDED_WELL]))
    return sorted(run.tags["dagster/partition"] for run in runs)


def computed_by_the_collection(instance: dg.DagsterInstance) -> dict[str, int]:
    """Texts that the embedding stages of the run over the collection computed."""
    (run,) = instance.get_runs(dg.RunsFilter(job_name=rag_tables.name))
    records = {record.stage: record.items for record in records_of_run(instance, run.run_id)}
    return {stage: records[stage].get("computed", 0) for stage in ("dense", "sparse")}


def tasks(home: Path, worker: str) -> int:
    """How many tasks a worker has begun."""
    return (home / f"{worker}.log").read_text("utf-8").count("received")


def run_states(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    return [(run.tags.get("dagster/partition", ""), run.status.value) for run in instance.get_runs()]
