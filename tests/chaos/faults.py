"""What is done to the system. A fault is prepared, strikes while a run goes on, and is mended as an operator would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from embedder_assets.tables.store import TableStore
from tests.chaos.world import World, ended, wait_until

Run = subprocess.Popen[str]
Mend = Callable[[], None]


def nothing() -> None:
    """There is nothing to mend."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: For the log.
        prepare: Done before the run starts; says what was done, and how it is mended afterwards.
        strike: Done while the run goes on; the same.
        survives: Whether the run has to end well all the same; None where either may be.
    """

    name: str
    prepare: Callable[[World], tuple[str, Mend]] | None = None
    strike: Callable[[World, Run], tuple[str, Mend]] | None = None
    survives: bool | None = None


# While a run goes on


def at_a_moment(world: World, run: Run) -> str:
    """Waits for a moment: some time, the first staged rows, or the next commit to a table."""
    kind = world.chance.choice(["time", "staging", "commit"])
    if kind == "time":
        delay = world.chance.uniform(0.3, 7.0)
        wait_until(lambda: False, run, delay)
        return f"after {delay:.1f} s"
    if kind == "staging":
        wait_until(lambda: any((world.home / "staging").rglob("*.parquet")), run)
        return "when rows were staged"
    table = world.chance.choice(["documents", "chunks", "dense_embeddings", "fused_candidates", "reranked_candidates"])
    log = world.home / "tables" / table
    before = _files(log)
    wait_until(lambda: _files(log) != before, run)
    return f"when {table} was written"


def _files(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.rglob("*"))
    except OSError:
        return 0


def kill_run(world: World, run: Run) -> tuple[str, Mend]:
    moment = at_a_moment(world, run)
    run.kill()
    return f"killed the run {moment}", nothing


def interrupt_run(world: World, run: Run) -> tuple[str, Mend]:
    moment = at_a_moment(world, run)
    if run.poll() is None:
        run.send_signal(signal.SIGINT)
    return f"interrupted the run {moment}", nothing


def kill_processes(name: str) -> Callable[[World, Run], tuple[str, Mend]]:
    def strike(world: World, run: Run) -> tuple[str, Mend]:
        if not wait_until(lambda: bool(world.servers(name)), run):
            return f"no {name} was needed", nothing
        delay = world.chance.uniform(0.0, 2.5)
        wait_until(lambda: False, run, delay)
        found = world.servers(name)
        for process in found:
            process.kill()
        return f"killed {len(found)} {name} {delay:.1f} s after the first was there", nothing

    return strike


def kill_exporter(world: World, run: Run) -> tuple[str, Mend]:
    moment = at_a_moment(world, run)
    world.stop_exporter()
    return f"killed the exporter {moment}", world.start_exporter


def fill_disk(world: World, run: Run) -> tuple[str, Mend]:
    moment = at_a_moment(world, run)
    ballast = world.home.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return f"filled the disk {moment}", lambda: ballast.unlink(missing_ok=True)


def second_run(world: World, run: Run) -> tuple[str, Mend]:
    other = world.start()

    def finish() -> None:
        status, output = ended(other)
        assert status == 0, output

    return "started a second run at once", finish


# Before a run starts


def corpus_away(world: World) -> tuple[str, Mend]:
    away = world.corpus.with_name("away")
    world.corpus.rename(away)
    return "moved the corpus folder away", lambda: _put_back(away, world.corpus)


def collection_emptied(world: World) -> tuple[str, Mend]:
    away = world.corpus.with_name("away")
    world.editor.files.rename(away)
    world.editor.files.mkdir()

    def mend() -> None:
        world.editor.files.rmdir()
        away.rename(world.editor.files)

    return "emptied a collection's folder, as a lost mount does", mend


def document_damaged(world: World) -> tuple[str, Mend]:
    file = world.editor.any_file()
    kept = file.with_name(f".{file.name}.kept")
    file.rename(kept)
    how = world.chance.choice(["garbage", "broken link", "folder", "empty"])
    if how == "garbage":
        file.write_bytes(bytes(range(256)) * 8)
    elif how == "broken link":
        file.symlink_to("nowhere")
    elif how == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"")

    def mend() -> None:
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
        kept.rename(file)

    return f"made a document {how}", mend


def rows_damaged(world: World) -> tuple[str, Mend]:
    world.editor.rows_file.write_text('{"_id": "r1", "text": "cut of', "utf-8")
    return "cut the corpus.jsonl of a collection", world.editor.write_rows


def parquet_damaged(world: World) -> tuple[str, Mend]:
    table = world.chance.choice(world.tables())
    store = TableStore(world.home)
    file = Path(world.chance.choice(sorted(DeltaTable(str(store.path(table))).file_uris())))
    content = file.read_bytes()
    how = world.chance.choice(["cut", "overwrote"])
    file.write_bytes(content[: len(content) // 2] if how == "cut" else os.urandom(len(content)))
    return f"{how} a data file of {table}", lambda: shutil.rmtree(store.path(table))


def log_damaged(world: World) -> tuple[str, Mend]:
    table = world.chance.choice(world.tables())
    folder = TableStore(world.home).path(table)
    last = max((folder / "_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:20])
    return f"cut the newest log entry of {table}", lambda: shutil.rmtree(folder)


def _put_back(away: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)
    away.rename(place)


FAULTS = [
    Fault("run killed", strike=kill_run),
    Fault("run interrupted", strike=interrupt_run),
    Fault("triton killed", strike=kill_processes("tritonserver"), survives=True),
    Fault("model process killed", strike=kill_processes("triton_python_b"), survives=True),
    Fault("exporter killed", strike=kill_exporter, survives=True),
    Fault("disk full", strike=fill_disk),
    Fault("two runs at once", strike=second_run, survives=True),
    Fault("corpus away", prepare=corpus_away, survives=False),
    Fault("collection emptied", prepare=collection_emptied, survives=False),
    Fault("document damaged", prepare=document_damaged, survives=True),
    Fault("rows damaged", prepare=rows_damaged, survives=True),
    Fault("data file damaged", prepare=parquet_damaged),
    Fault("log damaged", prepare=log_damaged),
]
