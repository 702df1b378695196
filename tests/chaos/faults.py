"""What is done to the system: each kind of fault, and how an operator mends it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from deltalake import DeltaTable

from embedder_assets.tables.store import TableStore
from tests.chaos.moments import a_moment, after
from tests.chaos.started import Started
from tests.chaos.world import World, wait_until

LOG_BYTES_LEFT = 20


@dataclass(frozen=True)
class Deed:
    """What a fault has done.

    Attributes:
        words: What was done, and when.
        mend: Puts right what is outside the system, or follows the remedy that the system printed; says how, if at all.
        hit: False when the run had ended before it could be struck.
        table: The table whose files were damaged.
        problems: What should not be, seen while it was done.
    """

    words: str
    mend: Callable[[], str | None] = lambda: None
    hit: bool = True
    table: str | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: For the log.
        prepare: Done before the run starts.
        strike: Done while the run goes on.
        survives: Whether the run has to end well all the same; None where either may be.
    """

    name: str
    prepare: Callable[[World], Deed] | None = None
    strike: Callable[[World, Started], Deed] | None = None
    survives: bool | None = None


# Processes


def kill_run(world: World, run: Started) -> Deed:
    moment = a_moment(world, run)
    run.send(signal.SIGKILL)
    return Deed(f"killed the run {moment.words}", hit=moment.came and run.ended().status == -signal.SIGKILL)


def interrupt_run(world: World, run: Started) -> Deed:
    moment = a_moment(world, run)
    run.send(signal.SIGINT)
    return Deed(f"interrupted the run {moment.words}", hit=moment.came)


def kill_processes(name: str) -> Callable[[World, Started], Deed]:
    def strike(world: World, run: Started) -> Deed:
        wait_until(lambda: bool(world.servers(name)), run)
        moment = after(world.chance.uniform(0.0, 0.25) * world.pace, run)
        killed = [process for process in world.servers(name) if _killed(process)]
        return Deed(f"killed {len(killed)} {name} {moment.words} of its life", hit=bool(killed))

    return strike


def kill_exporter(world: World, run: Started) -> Deed:
    moment = a_moment(world, run)
    world.kill_exporter()
    return Deed(f"killed the exporter {moment.words}", world.start_exporter, hit=moment.came)


def second_run(world: World, run: Started) -> Deed:
    moment = after(world.chance.choice([0.0, 0.1, 0.4]) * world.pace, run)
    other = world.start("second").ended()
    problems = [f"the second run: {each}" for each in other.problems()]
    if not other.well:
        problems.append(f"the second run ended with {other.status}: {other.sentence}")
    return Deed(f"started a second run {moment.words}", hit=moment.came, problems=problems)


# The disk


def fill_disk(world: World, run: Started) -> Deed:
    moment = a_moment(world, run)
    ballast = world.home.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return Deed(f"filled the disk {moment.words}", ballast.unlink, hit=moment.came)


# The corpus


def corpus_away(world: World) -> Deed:
    away = world.corpus.with_name("away")
    world.corpus.rename(away)
    return Deed("moved the corpus folder away", lambda: _put_back(away, world.corpus))


def collection_emptied(world: World) -> Deed:
    away = world.corpus.with_name("away")
    world.editor.files.rename(away)
    world.editor.files.mkdir()
    return Deed("emptied a collection's folder, as a lost mount does", lambda: _put_back(away, world.editor.files))


def during(trap: Callable[[World], Deed]) -> Callable[[World, Started], Deed]:
    """Does to a run that goes on what is otherwise done before one."""

    def strike(world: World, run: Started) -> Deed:
        moment = a_moment(world, run)
        deed = trap(world)
        return Deed(f"{deed.words} {moment.words}", deed.mend, moment.came, deed.table)

    return strike


def document_damaged(world: World) -> Deed:
    file = world.editor.any_file()
    kept = file.with_name(f".{file.name}.kept")
    file.rename(kept)
    how = world.chance.choice(["garbage", "a broken link", "a folder", "empty"])
    if how == "garbage":
        file.write_bytes(bytes(range(256)) * 8)
    elif how == "a broken link":
        file.symlink_to("nowhere")
    elif how == "a folder":
        file.mkdir()
    else:
        file.write_bytes(b"")
    world.editor.untouched.add(file)

    def mend() -> None:
        world.editor.untouched.discard(file)
        _put_back(kept, file)

    return Deed(f"made a document {how}", mend)


def rows_damaged(world: World) -> Deed:
    content = world.editor.rows_file.read_bytes()
    cut = world.chance.randrange(len(content) // 2, len(content) - 3)
    while content[cut - 1] in b"}\n":  # behind a whole row the rest would be deleted, and nothing be wrong
        cut -= 1
    world.editor.rows_file.write_bytes(content[:cut])
    return Deed("cut the corpus.jsonl of a collection", world.editor.write_rows)


def _put_back(away: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    away.rename(place)


# The tables


def data_file_damaged(world: World) -> Deed:
    table = world.chance.choice(world.tables())
    file = Path(world.chance.choice(sorted(DeltaTable(str(TableStore(world.home).path(table))).file_uris())))
    content = file.read_bytes()
    how = world.chance.choice(["cut", "overwrote"])
    file.write_bytes(content[: len(content) // 2] if how == "cut" else os.urandom(len(content)))
    return Deed(f"{how} a data file of {table}", lambda: _restored(world, table), table=table)


def log_damaged(world: World) -> Deed:
    table = world.chance.choice(world.tables())
    folder = TableStore(world.home).path(table)
    last = max((folder / "_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:LOG_BYTES_LEFT])
    return Deed(f"cut the newest log entry of {table}", lambda: _deleted(folder), table=table)


def _restored(world: World, table: str) -> str:
    """What docs/operations/backup.md says: the version before, if its files are whole; else the folder goes."""
    folder = TableStore(world.home).path(table)
    newest = DeltaTable(str(folder)).version()
    if newest and world.chance.random() < 0.5:
        status, said = world.operator("tables", "restore", table, "--version", str(newest - 1))
        if status == 0:
            ended = world.start("after-restore").ended()
            if ended.well:
                return f"restored version {newest - 1} of {table}"
            return f"restored version {newest - 1} of {table}, which did not help, and {_deleted(folder)}"
        return f"could not restore {table} ({said.strip()[:80]}), and {_deleted(folder)}"
    return _deleted(folder)


def _deleted(folder: Path) -> str:
    shutil.rmtree(folder)
    return f"deleted the folder of {folder.name}"


def _killed(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


FAULTS = [
    Fault("run killed", strike=kill_run),
    Fault("run interrupted", strike=interrupt_run),
    Fault("triton killed", strike=kill_processes("tritonserver"), survives=True),
    Fault("model process killed", strike=kill_processes("triton_python_b"), survives=True),
    Fault("exporter killed", strike=kill_exporter, survives=True),
    Fault("two runs at once", strike=second_run, survives=True),
    Fault("disk full", strike=fill_disk),
    Fault("corpus away", prepare=corpus_away, survives=False),
    Fault("corpus away during a run", strike=during(corpus_away)),
    Fault("collection emptied", prepare=collection_emptied, survives=False),
    Fault("collection emptied during a run", strike=during(collection_emptied)),
    Fault("document damaged", prepare=document_damaged, survives=True),
    Fault("rows damaged", prepare=rows_damaged, survives=True),
    Fault("data file damaged", prepare=data_file_damaged),
    Fault("data file damaged during a run", strike=during(data_file_damaged)),
    Fault("log damaged", prepare=log_damaged),
]
