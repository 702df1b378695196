"""What is broken: a home on a small disk, a corpus that changes, and the processes that work on them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from embedder_assets.stages.export import export_folder
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.editor import Editor
from tests.homes import differences
from tests.integration.processes import eventually, processes_of

BIN = Path(sys.executable).parent
DISK_MB = 96
RUN_TIMEOUT_S = 240
EXPORTER_PORT = 19564
# Keys that no two rows of a table may share.
KEYS = {
    "documents": ["doc_id"],
    "chunks": ["chunk_id"],
    "dense_embeddings": ["chunk_id", "model"],
    "sparse_embeddings": ["chunk_id", "model"],
    "queries": ["query_id"],
    "query_embeddings": ["query_id", "model"],
    "fused_candidates": ["query_id", "chunk_id"],
    "reranked_candidates": ["query_id", "chunk_id"],
}


class World:
    """A home and a corpus in a folder of their own; the home's disk holds ``DISK_MB``."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.home = root / "disk" / "home"
        self.corpus = root / "corpus"
        self.chance = random.Random(seed)
        self.editor = Editor(self.corpus, seed)
        queries = [{"_id": f"q{number}", "text": self.editor.chance.choice(WORDS_OF_QUERIES)} for number in range(5)]
        for folder in (self.editor.files, self.editor.rows_file.parent):
            (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n", "utf-8")
        self.exporter: subprocess.Popen[bytes] | None = None

    def start(self, home: Path | None = None) -> subprocess.Popen[str]:
        """A run as a person starts it."""
        environment = {
            **os.environ,
            "EMBEDDER_HOME": str(home or self.home),
            "EMBEDDER_METRICS_PORT": str(EXPORTER_PORT),
        }
        environment.pop("DAGSTER_HOME", None)
        return subprocess.Popen(
            [str(BIN / "embedder"), "run", "--corpus", str(self.corpus)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def undisturbed(self, home: Path | None = None) -> list[str]:
        """Runs, and says what was wrong with it."""
        status, output = ended(self.start(home))
        return [] if status == 0 else [f"an undisturbed run ended with {status}: {first_error(output)}"]

    def start_exporter(self) -> None:
        environment = {**os.environ, "EMBEDDER_HOME": str(self.home), "EMBEDDER_METRICS_PORT": str(EXPORTER_PORT)}
        environment.pop("DAGSTER_HOME", None)
        self.exporter = subprocess.Popen(
            [str(BIN / "embedder"), "exporter"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop_exporter(self) -> None:
        if self.exporter:
            self.exporter.kill()
            self.exporter.wait()
        self.exporter = None

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

    def orphans(self) -> list[str]:
        """What still lives, or lies about, although no run does."""
        own = {self.exporter.pid} if self.exporter else set()

        def left() -> set[int]:
            return set(processes_of(str(self.home))) - own

        gone = eventually(lambda: not left(), 20)
        lying = [path.name for path in Path("/dev/shm").glob("embedder_*") if not psutil.pid_exists(_owner(path))]
        return ([] if gone else [f"processes are left: {sorted(left())}"]) + [
            f"/dev/shm/{name} is left" for name in lying
        ]

    def damage(self) -> list[str]:
        """What no state of the tables may show."""
        store = TableStore(self.home)
        found = []
        for table, key in KEYS.items():
            for collection in store.collections(table):
                rows = store.read(table, collection, key)
                if rows.is_duplicated().any():
                    found.append(f"{table} of {collection} has rows twice")
        for collection in store.collections("chunks"):
            chunks = set(store.read("chunks", collection)["chunk_id"])
            for table in ("dense_embeddings", "sparse_embeddings"):
                if set(store.read(table, collection)["chunk_id"]) != chunks:
                    found.append(f"{table} of {collection} does not cover its chunks")
            if not (export_folder(self.home, collection) / "manifest.json").exists():
                found.append(f"exports of {collection} have no manifest")
        return found

    def unlike_a_rebuild(self) -> list[str]:
        """How the home differs from one that is made from nothing now."""
        with tempfile.TemporaryDirectory(dir=self.root) as fresh:
            return self.undisturbed(Path(fresh)) or differences(self.home, Path(fresh))

    def tables(self) -> list[str]:
        """The tables that are there and have rows."""
        store = TableStore(self.home)
        return [table for table in SCHEMAS if store.exists(table) and store.collections(table)]


WORDS_OF_QUERIES = ["bara linto", "dara", "kelish mira", "fonto", "lura balish"]


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of its own at a folder; yields why there is none, or nothing."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    try:
        yield mounted.stderr.strip() if mounted.returncode else ""
    finally:
        if not mounted.returncode:
            eventually(lambda: subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0, 10)


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output of a run."""
    output, _ = run.communicate(timeout=RUN_TIMEOUT_S)
    return run.returncode, output


def first_error(output: str) -> str:
    """The line that says what was wrong; all of it where none does."""
    lines = [line for line in output.splitlines() if line.startswith(("failed ", "Error: ", "Traceback"))]
    return lines[0] if lines else output[-500:]


def wait_until(condition: Callable[[], bool], run: subprocess.Popen[str], seconds: float = 60) -> bool:
    """Whether something came true before the run ended."""
    deadline = time.monotonic() + seconds
    while run.poll() is None and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def _owner(path: Path) -> int:
    digits = path.name.split("_")[1]
    return int(digits) if digits.isdigit() else os.getpid()
