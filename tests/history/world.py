"""A home with a history: what is done to it, by whom, in which circumstances, and what must be so all the while."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.chaos import world as chaos
from tests.chaos.oracle import EMBEDDINGS, Held, broken_rules, corpus_documents
from tests.chaos.started import Ended
from tests.history.models import FIRST, SHORT
from tests.history.moments import Moment
from tests.history.worker import Command, Running, Workers, serve_searches
from tests.support.homes import differences

MODELS = "EMBEDDER_DENSE_MODELS"
# Variables of the product that change in a history, with the values that they take; the first one is the default.
SETTINGS = {
    "EMBEDDER_ENABLE_SPARSE": ["true", "false"],
    "EMBEDDER_ENABLE_RERANK": ["true", "false"],
    MODELS: [FIRST, SHORT, f"{FIRST},{SHORT}"],
    "EMBEDDER_CANDIDATE_DEPTH": ["100", "20"],
    "EMBEDDER_RERANK_DEPTH": ["30", "5"],
    "EMBEDDER_REQUEST_BATCH_SIZE": ["64", "3"],
}
# Between two searches while a run goes on.
PAUSE_S = 0.2


class World(chaos.World):
    """A home and a corpus, the processes that work on them, and one that searches.

    Attributes:
        settings: Variables of the product that a step may change.
        searched: Those that search goes by: of the last run that ended well, as where models are changed with care.
        recut: Whether chunks may come and go without a document, since models were changed or a table was restored.
        clock_s: How far the clock is ahead.
        wrong: The files and folders that are damaged or cannot be read, to how each is put right.
        problems: What should not be, since they were last taken.
        searchable: Collections that were published, and of which nothing that a search needs was taken by hand since.
    """

    def __init__(self, root: Path, seed: int, log: Path, models: dict[str, str], workers: Workers) -> None:
        super().__init__(root, seed, log)
        self.home.mkdir(parents=True, exist_ok=True)
        self.workers = workers
        self.settings = {name: values[0] for name, values in SETTINGS.items()}
        self.searched = dict(self.settings)
        self.recut = False
        self.clock_s = 0
        self.wrong: dict[Path, Callable[[], object]] = {}
        self.problems: list[str] = []
        self.searchable: set[str] = set()
        self.searches = 0
        self._commands = 0
        self._fixed = {
            "EMBEDDER_CORPUS_DIR": str(self.corpus),
            **models,
            "EMBEDDER_METRICS_PORT": str(self._port),
            # Made-up models rank as they like.
            "EMBEDDER_QUALITY_TOLERANCE": "1",
            "POLARS_MAX_THREADS": "1",
        }
        said = log / "search.txt"
        self._searcher, self._ask = workers.fork(serve_searches, self._command([], said, self.home))

    def close(self) -> None:
        """Ends the process that searches."""
        self._ask.send(([], {}))
        self._searcher.join()

    # Commands

    def begin_command(self, *arguments: str, home: Path | None = None, moment: Moment | None = None) -> Running:
        """Starts a command of ``embedder``."""
        self._commands += 1
        said = self.log / f"{self._commands:03}-{arguments[0]}.txt"
        return self.workers.start(replace(self._command(arguments, said, home or self.home), moment=moment))

    def command(self, *arguments: str, moment: Moment | None = None, **variables: str) -> Ended:
        """Runs a command to its end; it may refuse in a sentence, but nothing else."""
        before, self.settings = self.settings, {**self.settings, **variables}
        ended = self.begin_command(*arguments, moment=moment).ended()
        self.settings = before
        self.problems += [f"{' '.join(arguments)}: {problem}" for problem in ended.problems()]
        return ended

    def run(self, moment: Moment | None = None) -> Ended:
        """Runs the main job, searches meanwhile, and looks for what was lost."""
        with_care = _Care(self)
        run = self.begin_command("run", moment=moment)
        while run.running:
            if run.paused():
                run.go_on()
            self.search()
            time.sleep(PAUSE_S)
        return with_care.ended(run, killed=moment is not None and moment.deed == "kill")

    def overlapping(self, moment: Moment, edit: Callable[[], str]) -> str:
        """Two runs: the first stands still after a commit, something is edited, and the second begins."""
        with_care = _Care(self)
        first = self.begin_command("run", moment=moment)
        while first.running and not first.paused():
            time.sleep(PAUSE_S)
        self.search()
        words = edit()
        second = self.begin_command("run")
        time.sleep(self.chance.uniform(0, 1))
        self.search()
        if first.running:
            first.go_on()
        while first.running or second.running:
            self.search()
            time.sleep(PAUSE_S)
        ended = [with_care.ended(each) for each in (first, second)]
        return f"{words}; exit status {ended[0].status} and {ended[1].status}"

    def search(self) -> None:
        """Searches all collections, or one of them, as a user does at any time."""
        self.searches += 1
        query = chaos.QUERIES[self.searches % len(chaos.QUERIES)]
        some = sorted(self.searchable)[self.searches % 3 : self.searches % 3 + 1]
        named = [word for name in some for word in ("--collection", name)]
        self._ask.send(([query, *named], self.searched))
        status, found, said = self._ask.recv()
        hits = [] if status else json.loads(found)
        if "Traceback" in said or (self.searchable and not hits):
            self.problems.append(f"search {' '.join(named)} ended with {status}: {said.strip()[-1200:] or found}")
        if some and {hit["collection"] for hit in hits} - set(some):
            self.problems.append(f"search {' '.join(named)} found something else: {found[:200]}")

    def check(self) -> None:
        """After an undisturbed run on a sound corpus: the tables are those of a rebuild."""
        embeddings = [name for name in EMBEDDINGS if name not in self.off]
        self.problems += broken_rules(self, embeddings)
        fresh = self.root / "fresh"
        fresh.mkdir()
        ended = self.begin_command("run", home=fresh).ended()
        if ended.status:
            self.problems.append(f"the rebuild ended with {ended.status}: {ended.sentence or ended.said[-800:]}")
        else:
            self.problems += [f"unlike a rebuild: {each}" for each in differences(self.home, fresh, self.off)]
        shutil.rmtree(fresh)

    @property
    def off(self) -> list[str]:
        """The tables that the settings leave as they are."""
        of = {"EMBEDDER_ENABLE_SPARSE": "sparse_embeddings", "EMBEDDER_ENABLE_RERANK": "reranked_candidates"}
        return [table for name, table in of.items() if self.settings[name] == "false"]

    def _command(self, arguments: tuple[str, ...] | list[str], said: Path, home: Path) -> Command:
        environment = {**self._fixed, **self.settings, "EMBEDDER_HOME": str(home)}
        return Command(arguments, environment, said, self.clock_s)


class _Care:
    """What is looked at before and after a run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held = Held.of(world)
        self._began = time.time()
        world.recut = world.recut or world.settings[MODELS] != world.searched[MODELS]
        self._only_documents = world.recut

    def ended(self, run: Running, *, killed: bool = False) -> Ended:
        world = self._world
        ended = run.ended()
        _stamp(world.home, self._began, world.clock_s)
        world.problems += [f"{run.said.name}: {problem}" for problem in ended.problems()]
        if ended.status and not killed and not world.wrong:
            world.problems.append(f"{run.said.name} ended with {ended.status}: {ended.sentence or ended.said[-800:]}")
        still = corpus_documents(world)
        both = {name: documents & still[name] for name, documents in self._held.corpus.items()}
        held = self._held.rows.items()
        rows = {place: rows for place, rows in held if place[0] == "documents" or not self._only_documents}
        world.problems += replace(self._held, corpus=both, rows=rows).lost(world, None)
        if ended.well:
            world.searchable |= still.keys()
            world.searched = dict(world.settings)
            world.recut = False
        return ended


def _stamp(folder: Path, since: float, ahead_s: int) -> None:
    """Gives what was written since some time the times that the clock of a run showed; the kernel's clock stays."""
    if ahead_s:
        for file in folder.rglob("*"):
            written = file.lstat().st_mtime
            if file.is_file() and since <= written <= time.time():
                os.utime(file, (written + ahead_s, written + ahead_s))
