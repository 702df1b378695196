"""What happens to a home, a step at a time. Each kind says in words what it did."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable

import dagster as dg
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from embedder_assets.tables.store import TableStore
from tests.chaos.faults import document_damaged
from tests.chaos.started import Ended
from tests.history.moments import STATES, Moment
from tests.history.world import SETTINGS, World

DAY_S = 24 * 60 * 60
MOST_DAYS = 30
# So many commits and operations on files does a run make at most.
COMMITS, OPERATIONS = 14, 250
MOST_WRONG = 3
# Without these, nothing can be found until a run has made them anew.
NEEDED_BY_SEARCH = {"chunks", "dense_embeddings", "sparse_embeddings"}
SHORT_HISTORY = {"EMBEDDER_HISTORY_DAYS": "0.05"}

Step = Callable[[World], str]


# The corpus


def edit(world: World) -> str:
    return ", ".join(world.editor.change() for _ in range(world.chance.randint(1, 3)))


def damage(world: World) -> str:
    if len(world.wrong) >= MOST_WRONG:
        return repair(world)
    before = set(world.editor.untouched)
    deed = document_damaged(world)
    (file,) = world.editor.untouched - before
    world.wrong[file] = deed.mend
    return f"{deed.words}: {file.relative_to(world.root)}"


def permissions(world: World) -> str:
    """Takes permissions from a file, a folder, a collection or the whole corpus."""
    if len(world.wrong) >= MOST_WRONG:
        return repair(world)
    editor = world.editor
    below = [path for path in editor.files.rglob("*") if path.is_dir()]
    collections = [editor.files, editor.rows_file.parent, world.corpus]
    kinds = [[editor.any_file(), editor.rows_file], sorted(below), sorted(below), collections]
    path = world.chance.choice(world.chance.choice([kind for kind in kinds if kind]))
    if not path.exists() or path in world.wrong:
        return f"nothing done to {path.relative_to(world.root)}"
    mode = world.chance.choice([0o000, 0o444, 0o311] if path.is_dir() else [0o000, 0o200])
    before = path.stat().st_mode
    path.chmod(mode)
    if path.is_file():
        editor.untouched.add(path)

    def mend() -> None:
        path.chmod(before)
        editor.untouched.discard(path)

    world.wrong[path] = mend
    return f"chmod {mode:03o} {path.relative_to(world.root)}"


def repair(world: World) -> str:
    """Puts right one thing that is wrong with the corpus."""
    if not world.wrong:
        return "nothing to repair"
    path = world.chance.choice(sorted(world.wrong))
    world.wrong.pop(path)()
    return f"repaired {path.relative_to(world.root)}"


# Circumstances


def clock(world: World) -> str:
    world.clock_s = world.chance.randint(-MOST_DAYS * DAY_S, MOST_DAYS * DAY_S)
    return f"the clock is {world.clock_s / DAY_S:+.1f} days ahead"


def setting(world: World) -> str:
    name = world.chance.choice(sorted(SETTINGS))
    world.settings[name] = world.chance.choice([value for value in SETTINGS[name] if value != world.settings[name]])
    return f"{name}={world.settings[name]}"


# Runs


def run(world: World) -> str:
    return _outcome(world.run())


def killed_in_a_commit(world: World) -> str:
    _give_work(world)
    moment = _kill(world, COMMITS)
    return f"{moment.words}: {_outcome(world.run(moment))}"


def killed_at_a_file(world: World) -> str:
    _give_work(world)
    moment = Moment("kill", operation=world.chance.randint(1, OPERATIONS))
    return f"{moment.words}: {_outcome(world.run(moment))}"


def two_runs(world: World) -> str:
    moment = Moment("pause", world.chance.randint(1, COMMITS))
    _give_work(world)
    while world.wrong:
        repair(world)
    return f"{moment.words}, meanwhile: {world.overlapping(moment, lambda: edit(world))}"


def _kill(world: World, commits: int) -> Moment:
    chance = world.chance
    return Moment("kill", chance.randint(1, commits), chance.choice(STATES), seed=chance.randrange(2**32))


def _give_work(world: World) -> None:
    """Changes both collections, so that every stage has something to do."""
    world.editor.edit()
    world.editor.edit_row()
    world.editor.write_rows()


# State


def state_deleted(world: World) -> str:
    """Deletes what people delete to make room, or because it looks broken."""
    name = world.chance.choice(["runs", "staging", "locks", "exports", "dagster", "dagster runs", "a table", "tables"])
    if name == "dagster runs":
        return _runs_deleted(world)
    folder = world.home / name
    if name == "tables":
        world.searchable.clear()
    if name == "a table":
        tables = world.tables()
        if not tables:
            return "there is no table to delete"
        folder = world.home / "tables" / world.chance.choice(tables)
        if folder.name in NEEDED_BY_SEARCH:
            world.searchable.clear()
    shutil.rmtree(folder, ignore_errors=True)
    return f"deleted {folder.relative_to(world.home)}"


def _runs_deleted(world: World) -> str:
    if not (world.home / "dagster" / "dagster.yaml").exists():
        return "there is no run to delete"
    with dg.DagsterInstance.from_config(str(world.home / "dagster")) as instance:
        runs = [each.run_id for each in instance.get_runs()]
        chosen = [each for each in runs if world.chance.random() < 0.5]
        for each in chosen:
            instance.delete_run(each)
    return f"deleted {len(chosen)} of {len(runs)} runs"


def restored(world: World) -> str:
    """Restores one table, or each, to one of its versions."""
    tables = [name for name in world.tables() if name != "quality_baselines"]
    if not tables:
        return "there is no table to restore"
    world.recut = True
    chosen = world.chance.choice([[world.chance.choice(tables)], tables])
    collection = world.chance.choice([[], ["--collection", "files"]])
    words = []
    for table in chosen:
        with contextlib.suppress(DeltaError):  # what a kill has left; the command has to say so
            newest = DeltaTable(str(TableStore(world.home).path(table))).version()
            version = str(world.chance.randint(max(0, newest - 6), max(0, newest - 1)))
            ended = world.command("tables", "restore", table, "--version", version, *collection)
            words.append(f"{table} to {version} {_outcome(ended)}")
            world.search()
    return f"restored {' '.join(collection)} {', '.join(words)}"


def maintained(world: World) -> str:
    """Maintenance, of which every other one is killed."""
    moment = world.chance.choice([None, _kill(world, 2 * COMMITS)])
    ended = world.command("tables", "maintain", moment=moment, **SHORT_HISTORY)
    return f"tables maintain, {moment.words if moment else 'undisturbed'}: {_outcome(ended)}"


def dropped(world: World) -> str:
    """Drops a collection, whose folder stays; every other time this is killed."""
    name = world.chance.choice(["files", "rows"])
    world.searchable.discard(name)
    moment = world.chance.choice([None, _kill(world, COMMITS)])
    ended = world.command("tables", "drop", name, "--yes", moment=moment)
    return f"tables drop {name}, {moment.words if moment else 'undisturbed'}: {_outcome(ended)}"


def checkpoint(world: World) -> str:
    """Repairs the corpus, runs, and compares the tables with a rebuild."""
    while world.wrong:
        repair(world)
    words = _outcome(world.run())
    world.check()
    return f"checkpoint: {words}"


def _outcome(ended: Ended) -> str:
    return f"exit status {ended.status}" + (f" ({ended.sentence[:160]})" if ended.status > 0 else "")


# What search cannot notice.
CORPUS_ONLY = {"edit", "damage", "permissions", "repair", "clock"}
# Kind of step to its weight. A run costs more than a second, an edit nothing.
KINDS: dict[str, tuple[Step, int]] = {
    "edit": (edit, 34),
    "damage": (damage, 6),
    "permissions": (permissions, 8),
    "repair": (repair, 5),
    "clock": (clock, 8),
    "setting": (setting, 7),
    "run": (run, 4),
    "killed in a commit": (killed_in_a_commit, 9),
    "killed at a file": (killed_at_a_file, 4),
    "two runs": (two_runs, 3),
    "state deleted": (state_deleted, 6),
    "restored": (restored, 3),
    "maintained": (maintained, 2),
    "dropped": (dropped, 1),
}
