"""Dagster with its runs on Celery workers: what docs/how-to/celery.md starts, as processes of one machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import psutil

from embedder_assets.automation.jobs import MAIN
from embedder_assets.automation.shards import shard_vectors
from embedder_assets.definitions import defs
from embedder_assets.partitions import register
from tests.conftest import PROJECT
from tests.support.command import BIN, environment, instance_of

DEPLOYED = PROJECT / "deploy" / "celery"
MODULE = "embedder_assets.definitions"
REPOSITORY = {"repositoryLocationName": MODULE, "repositoryName": "__repository__"}
LAUNCH = """
mutation($lost: SensorSelector!, $sharded: SensorSelector!, $backfill: LaunchBackfillParams!) {
  lost: startSensor(sensorSelector: $lost) { __typename ... on PythonError { message } }
  sharded: startSensor(sensorSelector: $sharded) { __typename ... on PythonError { message } }
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename ... on PythonError { message }
  }
}
"""


@dataclass
class Cluster:
    """One home, one Dagster instance, and processes that work for it.

    Attributes:
        home: On a disk that all processes share.
        variables: The environment of all processes.
    """

    home: Path
    variables: dict[str, str]

    @classmethod
    def made(cls, home: Path, **settings: str) -> Cluster:
        """A cluster with the files of ``deploy/celery``; the places of PostgreSQL and Redis are in the environment."""
        (home / "dagster").mkdir(parents=True, exist_ok=True)
        shutil.copy(DEPLOYED / "dagster.yaml", home / "dagster")
        # `dagster-celery` looks for `celery` on the path.
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "DAGSTER_HOME": str(home / "dagster"), "EMBEDDER_COLLECTIONS_PER_RUN": "1"}
        return cls(home, environment(home, **own, **settings))

    @contextmanager
    def worker(self, name: str, inside: Sequence[str] = (), home: Path | None = None) -> Iterator[psutil.Process]:
        """A worker while the context lasts; it takes runs as soon as it is ready.

        Args:
            name: Of the worker.
            inside: Words before the command, which say where it runs.
            home: Its own, where not all processes share one.
        """
        command = [*inside, str(BIN / "dagster-celery"), "worker", "start", "-A", "dagster_celery.app"]
        command += ["-y", str(DEPLOYED / "worker.yaml"), "-n", name]
        with self._process(name, command, {"EMBEDDER_HOME": str(home or self.home)}) as process:
            yield process

    @contextmanager
    def daemon(self) -> Iterator[psutil.Process]:
        """Dagster's daemon while the context lasts."""
        with self._process("daemon", [str(BIN / "dagster-daemon"), "run", "-m", MODULE]) as process:
            yield process

    def backfill(self, names: Sequence[str]) -> None:
        """Asks for a backfill of some collections, with the sensors on."""
        with instance_of(self.home) as instance:
            register(instance, names)
        assets = sorted(MAIN.resolve(defs.resolve_asset_graph()))
        self._launch({"assetSelection": [{"path": list(key.path)} for key in assets], "partitionNames": list(names)})

    def backfill_shards(self, shards: Iterable[str]) -> None:
        """Asks for a backfill of the shards of a collection that a run has made known, with the sensors on."""
        selector = {"partitionSetName": f"{shard_vectors.name}_partition_set", "repositorySelector": REPOSITORY}
        self._launch({"selector": selector, "partitionNames": sorted(shards)})

    def materialize(self, collection: str, *assets: str) -> None:
        """Materializes some assets of a collection in a process of its own, as Dagster's command line does."""
        command = [str(BIN / "dagster"), "asset", "materialize", "-m", MODULE, "--select", ",".join(assets)]
        self._run([*command, "--partition", collection])

    def _launch(self, backfill: Mapping[str, object]) -> None:
        sensors = {name: {**REPOSITORY, "sensorName": name} for name in ("lost_runs", "sharded_collections")}
        values = {"lost": sensors["lost_runs"], "sharded": sensors["sharded_collections"], "backfill": backfill}
        command = [str(BIN / "dagster-graphql"), "-m", MODULE, "-t", LAUNCH, "-v", json.dumps(values)]
        answer = json.loads(next(line for line in self._run(command).splitlines() if line.startswith("{")))["data"]
        assert [answer[name]["__typename"] for name in ("lost", "sharded")] == ["Sensor", "Sensor"], answer
        assert answer["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer

    def runs(self, instance: dg.DagsterInstance, *statuses: dg.DagsterRunStatus) -> Mapping[str, dg.DagsterRun]:
        """The newest run of each collection that has one, among those of some statuses."""
        runs = instance.get_runs(dg.RunsFilter(statuses=list(statuses)))
        return {run.tags["dagster/partition"]: run for run in reversed(list(runs)) if "dagster/partition" in run.tags}

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(command, env=self.variables, cwd=self.home, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def _process(
        self, name: str, command: Sequence[str], own: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[psutil.Process]:
        with (self.home / f"{name}.log").open("w") as said:
            process = subprocess.Popen(
                command, env={**self.variables, **own}, cwd=self.home, stdout=said, stderr=said, start_new_session=True
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            signal_session(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                kill(process.pid)
                process.wait(30)


def kill(session: int) -> None:
    """Ends all processes of a session at once, as the loss of a machine does."""
    signal_session(session, signal.SIGKILL)


def signal_session(session: int, number: signal.Signals) -> None:
    """Sends a signal to all processes of a session."""
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                os.kill(pid, number)
        except ProcessLookupError:
            continue
