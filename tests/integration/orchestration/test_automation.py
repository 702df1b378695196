"""Runs that nobody starts: a real daemon with the sensors on, a real Triton, files that come, grow, change and go."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from embedder_assets.instance.dagster_private import NOT_FINISHED_STATUSES
from embedder_assets.run import DAGSTER_CONFIG
from embedder_assets.serving.server.embedded import find_running
from embedder_assets.tables.store import TableStore
from tests.support.command import BIN, environment, instance_of, write
from tests.support.processes import eventually

SETTLE_S = 3
RUN_S = 90
# Long enough for whatever would start one run more.
AFTERMATH_S = 7


@dataclass
class Operated:
    """A home that a daemon with all sensors on looks after."""

    home: Path
    corpus: Path
    instance: dg.DagsterInstance

    def runs(self, collection: str) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": collection})))

    def at_rest(self) -> bool:
        return not self.instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))

    def documents(self, collection: str, table: str = "documents") -> set[str]:
        return set(TableStore(self.home).read(table, collection, ["doc_id"])["doc_id"])

    def comes_to(self, collection: str, runs: int, documents: set[str]) -> bool:
        """Whether a collection comes to so many runs, and its tables then hold just these documents."""
        enough = eventually(lambda: len(self.runs(collection)) >= runs and self.at_rest(), RUN_S)
        return enough and len(self.runs(collection)) == runs and self.documents(collection) == documents

    def stays_at(self, runs: int) -> bool:
        """Whether there are so many runs of all collections, and no more of them begin."""
        time.sleep(AFTERMATH_S)
        return self.at_rest() and len(self.instance.get_runs()) == runs


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    root = tmp_path_factory.mktemp("operated")
    home, corpus = root / "home", root / "corpus"
    write(home / "dagster" / "dagster.yaml", DAGSTER_CONFIG)
    write(corpus / "first" / "cat.md", "# The cat\n\nThe cat purrs and hunts mice.\n")
    variables = environment(
        home,
        DAGSTER_HOME=str(home / "dagster"),
        EMBEDDER_CORPUS_DIR=str(corpus),
        EMBEDDER_AUTOMATION="true",
        EMBEDDER_SETTLE_S=str(SETTLE_S),
    )
    daemon = [str(BIN / "dagster-daemon"), "run", "--module-name", "embedder_assets.definitions"]
    parts = []
    try:
        for name, command in (("serve", [str(BIN / "embedder"), "serve"]), ("daemon", daemon)):
            log = (root / f"{name}.log").open("wb")
            parts.append(subprocess.Popen(command, cwd=root, env=variables, stdout=log, stderr=subprocess.STDOUT))
            assert name != "serve" or eventually(lambda: find_running(home / "triton") is not None, seconds=60)
        with instance_of(home) as instance:
            yield Operated(home, corpus, instance)
    finally:
        for part in reversed(parts):
            part.send_signal(signal.SIGINT)
        for part in reversed(parts):
            part.wait(timeout=60)


def test_each_change_leads_to_one_run(operated: Operated) -> None:
    assert operated.comes_to("first", 1, {"cat.md"})

    growing = operated.corpus / "new" / "hammer.md"
    write(growing, "# The hammer\n")
    write(operated.corpus / "new" / "saw.md", "# The saw\n\nA saw cuts wood.\n")
    for _ in range(SETTLE_S * 2):
        with growing.open("a") as file:
            file.write("\nIt drives nails into wood.\n")
        time.sleep(1)
        assert operated.runs("new") == []
    assert operated.comes_to("new", 1, {"hammer.md", "saw.md"})

    write(operated.corpus / "new" / "saw.md", "# The saw\n\nA saw cuts wood, and metal too.\n")
    assert operated.comes_to("new", 2, {"hammer.md", "saw.md"})
    store = TableStore(operated.home)
    assert "metal" in "".join(store.read("chunks", "new", ["text"])["text"])

    (operated.corpus / "new" / "saw.md").unlink()
    assert operated.comes_to("new", 3, {"hammer.md"})
    assert operated.documents("new", "chunks") == {"hammer.md"}
    assert store.count("dense_embeddings", "new") == store.count("chunks", "new")

    assert operated.stays_at(4)
    assert {run.status for run in operated.instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_killed_run_is_detected_and_retried(operated: Operated) -> None:
    before = len(operated.instance.get_runs())
    write(operated.corpus / "killed" / "owl.md", "# The owl\n\nThe owl hunts at night.\n")
    assert eventually(lambda: bool(_worker(operated, "killed")), RUN_S)
    os.kill(_worker(operated, "killed"), signal.SIGKILL)
    assert operated.comes_to("killed", 2, {"owl.md"})
    assert operated.stays_at(before + 2)
    second, first = operated.runs("killed")
    assert first.status == dg.DagsterRunStatus.FAILURE
    assert second.status == dg.DagsterRunStatus.SUCCESS
    assert second.parent_run_id == first.run_id


def _worker(operated: Operated, collection: str) -> int:
    """The process of a collection's run that has started, or 0."""
    for run in operated.runs(collection):
        if run.status == dg.DagsterRunStatus.STARTED:
            for entry in operated.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
                if pid is not None and pid.value:
                    return int(pid.value)
    return 0
