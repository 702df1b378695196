"""What does a second Celery worker gain?

A backfill of eight equal collections, alternating between one worker and two, each time on a fresh home and a fresh
database of a real PostgreSQL, with a real Redis and the same two Tritons. When the clock starts, all runs wait in the
queue and the workers have loaded the code; it stops when the last run has ended. The cores used are those of daemon,
workers and Tritons, without PostgreSQL.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg

from benchmarks.common.cpu_time import CpuTime
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from tests.support.command import instance_of
from tests.support.processes import eventually
from tests.support.servers import postgres, redis
from tests.support.servers.cluster import Cluster, signal_session

COLLECTIONS = [f"collection-{number}" for number in range(8)]
WORKERS = (1, 2)
PATIENCE_S = 900


def main() -> None:
    """Prints one line a side and round, then the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=40, help="in each collection")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    servers = postgres.binaries(), redis.program()
    if None in servers:
        raise SystemExit("needs postgresql and redis-server (Debian)")
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start")
    print("workers  chunks  seconds  chunks/s  cores used  load")
    with tempfile.TemporaryDirectory() as temporary, around(Path(temporary)) as (server, tritons):
        folder = Path(temporary)
        corpus(folder / "corpus", chosen.documents)
        rates: dict[int, list[float]] = {count: [] for count in WORKERS}
        for number in range(chosen.rounds):
            for count in WORKERS:
                os.environ["DAGSTER_POSTGRES_DB"] = server.database(f"round-{number}-{count}")
                rates[count].append(measured(folder, f"home-{number}-{count}", count, tritons))
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    print(f"two workers: {ratio:.2f} times the chunks per second of one, median of {chosen.rounds} rounds")


@contextmanager
def around(folder: Path) -> Iterator[tuple[postgres.Postgres, list[str]]]:
    """PostgreSQL, Redis and two Tritons while the context lasts, named in the environment."""
    programs, broker = postgres.binaries(), redis.program()
    assert programs is not None
    assert broker is not None
    with postgres.running(programs) as server, redis.running(broker) as port, ExitStack() as stack:
        os.environ.update(server.variables)
        os.environ["DAGSTER_CELERY_BROKER"] = redis.url(port)
        repository = load_settings(environ={}).model_repository
        tritons = [
            EmbeddedTriton(repository, folder / name, access=ServerAccess(secret=None)) for name in ("first", "second")
        ]
        for triton in tritons:
            stack.callback(triton.stop, at_once=True)
        yield server, [triton.address.grpc for triton in tritons]


def measured(folder: Path, name: str, count: int, tritons: Sequence[str]) -> float:
    """Chunks per second of the backfill with so many workers."""
    settings = {"EMBEDDER_CORPUS_DIR": str(folder / "corpus"), "EMBEDDER_TRITON_URL": ",".join(tritons)}
    cluster = Cluster.made(folder / name, **settings)
    with ExitStack() as stack:
        workers = [stack.enter_context(cluster.worker(f"worker-{number}")) for number in range(count)]
        stack.enter_context(cluster.daemon())
        instance = stack.enter_context(instance_of(cluster.home))
        warm(cluster, instance, count)
        for worker in workers:
            signal_session(worker.pid, signal.SIGSTOP)
        cluster.backfill(COLLECTIONS)
        assert eventually(lambda: len(cluster.runs(instance)) == count + len(COLLECTIONS), PATIENCE_S)
        with CpuTime() as used:
            for worker in workers:
                signal_session(worker.pid, signal.SIGCONT)
            assert eventually(lambda: set(COLLECTIONS) <= {*ended(cluster, instance)}, PATIENCE_S)
        records = [instance.get_run_record_by_id(ended(cluster, instance)[name].run_id) for name in COLLECTIONS]
    times = [(record.start_time or 0.0, record.end_time or 0.0) for record in records if record is not None]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    chunks = sum(TableStore(cluster.home).count("chunks", each) for each in COLLECTIONS)
    cores = used.seconds / seconds
    print(
        f"{count:<9}{chunks:<8}{seconds:<9.1f}{chunks / seconds:<10.1f}{cores:<12.2f}{os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return chunks / seconds


def warm(cluster: Cluster, instance: dg.DagsterInstance, count: int) -> None:
    """Gives each worker a run, after which it has loaded the code."""
    names = [f"warm-{number}" for number in range(count)]
    cluster.backfill(names)
    assert eventually(lambda: set(names) <= {*ended(cluster, instance)}, PATIENCE_S)


def ended(cluster: Cluster, instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    """The runs that have ended well."""
    return dict(cluster.runs(instance, dg.DagsterRunStatus.SUCCESS))


def corpus(folder: Path, documents: int) -> None:
    """Equal collections, and one document for each worker to warm up with."""
    sizes = {**dict.fromkeys(COLLECTIONS, documents), **{f"warm-{number}": 1 for number in range(max(WORKERS))}}
    for name, size in sizes.items():
        (folder / name).mkdir(parents=True)
        for number in range(size):
            words = f"Words about topic {number} of {name}. " * 30
            (folder / name / f"{number}.md").write_text(f"# Number {number} of {name}\n\n{words}\n", "utf-8")


if __name__ == "__main__":
    main()
