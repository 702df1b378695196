"""What is broken: a home on a small disk, a corpus that changes, and the processes that work on them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from embedder_assets.network import loopback
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.chaos.started import Started
from tests.support import loaded
from tests.support.corpora.editor import Editor
from tests.support.model_repositories import exact_variables
from tests.support.processes import eventually, own_free_ports, processes_of

BIN = Path(sys.executable).parent
DISK_MB = 256
EXPORTER_READY_S = 60
QUERIES = ["bara linto", "dara", "kelish mira", "fonto", "lura balish"]
# Rows of the judged collection that are never edited: their queries have to find them, whatever lies around them.
JUDGED = {
    "whale": ("Which mammal lives in the sea?", "The whale is a mammal that lives in the sea and breathes air."),
    "bread": ("How is bread made?", "Bread is made of flour, water and yeast, and baked in a hot oven."),
    "moon": ("What causes the tides?", "The tides of the ocean are caused by the gravity of the moon."),
}


class World:
    """A home and a corpus in a folder of their own; the home's disk holds ``DISK_MB``.

    Attributes:
        chance: Decides what is done and when, from the seed.
        pace: Seconds that a run takes here: of the last one that nobody disturbed.
    """

    def __init__(self, root: Path, seed: int, log: Path) -> None:
        self.root = root
        self.home = root / "disk" / "home"
        self.corpus = root / "corpus"
        self.log = log
        self._seed = seed
        self.chance = random.Random(seed)
        self.pace = 8.0
        self._temporary = root / "tmp"
        self._temporary.mkdir()
        self.editor = Editor(self.corpus, seed, kept={name: text for name, (_, text) in JUDGED.items()})
        queries = [{"_id": f"q{number}", "text": text} for number, text in enumerate(QUERIES)]
        _write_lines(self.editor.files / "queries.jsonl", queries)
        judged = [{"_id": f"about-{name}", "text": query} for name, (query, _) in JUDGED.items()]
        _write_lines(self.editor.rows_file.with_name("queries.jsonl"), judged)
        qrels = ["query-id\tcorpus-id\tscore", *(f"about-{name}\t{name}\t1" for name in JUDGED)]
        self.editor.rows_file.with_name("qrels.tsv").write_text("\n".join(qrels) + "\n", "utf-8")
        (self._port,) = own_free_ports(1)
        self._exporter: subprocess.Popen[bytes] | None = None
        self._runs: set[int] = set()

    def begin(self, step: str) -> None:
        """Draws anew from the seed and a name, so that a step is the same however many draws went before it."""
        self.chance = random.Random(f"{self._seed} {step}")
        self.editor.chance = random.Random(f"{self._seed} {step} edits")

    def edit(self) -> list[str]:
        """Changes the corpus, a file at least, so that every stage has something to do; says how."""
        self.editor.edit()
        return ["edit", *(self.editor.change() for _ in range(self.chance.randint(0, 3)))]

    # Processes

    def start(self, name: str, home: Path | None = None) -> Started:
        """A run as a person starts it; what it says is kept in the log folder under a name."""
        command = ["embedder", "run", "--corpus", str(self.corpus)]
        run = Started(command, self._environment(home or self.home), self._said(name))
        self._runs.add(run.pid)
        return run

    def operator(self, *arguments: str) -> tuple[int, str]:
        """A command of ``embedder`` that a person types; its exit status and what it says."""
        done = loaded.run(["embedder", *arguments], self._environment(self.home), Path.cwd(), 120)
        return done.returncode, done.stdout + done.stderr

    def start_exporter(self) -> None:
        """The metrics exporter, which the runs find and use."""
        command = [str(BIN / "embedder"), "exporter"]
        with self._said("exporter").open("ab") as file:
            self._exporter = subprocess.Popen(
                command, env=self._environment(self.home), stdout=file, stderr=subprocess.STDOUT
            )

    def kill_exporter(self) -> None:
        if self._exporter:
            self._exporter.kill()
            self._exporter.wait()
        self._exporter = None

    def exporter_problems(self) -> list[str]:
        """Whether the exporter lives and serves the samples of runs."""
        if self._exporter is None:
            return ["the exporter was not started again"]
        ready = eventually(self._scraped, EXPORTER_READY_S)
        return [] if ready else [f"the exporter does not answer; its exit status is {self._exporter.poll()}"]

    def servers(self, name: str) -> list[psutil.Process]:
        """The living Triton processes of this home with a name: ``tritonserver`` or its Python stubs."""
        found = []
        for pid in processes_of(str(self.home)):
            try:
                process = psutil.Process(pid)
                if process.name().startswith(name):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left_over(self) -> list[str]:
        """What still lives, or lies about, although no run does."""
        own = {self._exporter.pid} if self._exporter else set()
        eventually(lambda: not (set(processes_of(str(self.root))) - own or self._in_shared_memory()), 20)
        processes = [f"process {pid} is left: {_name(pid)}" for pid in set(processes_of(str(self.root))) - own]
        shared = [f"/dev/shm/{name} is left" for name in self._in_shared_memory()]
        scratch = [f"{path.name} is left in the temporary folder" for path in self._temporary.glob("embedder-*")]
        return processes + shared + scratch

    def tables(self) -> list[str]:
        """The tables that are there and have rows."""
        store = TableStore(self.home)
        return [table for table in SCHEMAS if store.exists(table) and store.collections(table)]

    def _scraped(self) -> bool:
        try:
            with loopback.get(f"http://127.0.0.1:{self._port}/metrics", timeout_s=5) as response:
                return b"rag_export_latency_seconds_count" in response.read()
        except OSError:
            return False

    def _in_shared_memory(self) -> list[str]:
        """Regions of servers that were started by runs of this world."""
        names = [path.name for path in Path("/dev/shm").glob("embedder_*")]
        return [name for name in names if name.split("_")[1] in set(map(str, self._runs))]

    def _environment(self, home: Path) -> dict[str, str]:
        variables = {"EMBEDDER_HOME": home, "EMBEDDER_METRICS_PORT": self._port, "TMPDIR": self._temporary}
        variables |= exact_variables()
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        environment.pop("DAGSTER_HOME", None)
        return environment

    def _said(self, name: str) -> Path:
        return self.log / f"{name}.txt"


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of its own at a folder; yields why there is none, or nothing."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    try:
        yield mounted.stderr.strip() if mounted.returncode else ""
    finally:
        if not mounted.returncode:
            eventually(lambda: subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0, 10)


def wait_until(condition: Callable[[], bool], run: Started, seconds: float = 60) -> bool:
    """Whether something came true before the run ended."""
    deadline = time.monotonic() + seconds
    while run.running and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _name(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:200]
    except psutil.Error:
        return "gone since"
