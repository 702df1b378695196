"""Two runs on one collection, their steps and checks in any order: both end well, and nothing is mixed or lost."""

from __future__ import annotations

import json
import random
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from embedder_assets.assets.support import materialize
from embedder_assets.assets.support.superseded import version_tracker
from embedder_assets.automation.jobs import rag_tables
from embedder_assets.checks import blocking
from embedder_assets.definitions import defs
from embedder_assets.instance.sqlite_event_log import open_instance
from embedder_assets.partitions import collections_of_run, register
from embedder_assets.run import DAGSTER_CONFIG, QUIET
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.history import VersionTracker, restore
from embedder_assets.tables.maintenance import maintain
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.run_failures import failed_checks, problems
from tests.support.checkpoints import write_tokenizer
from tests.support.factories import FakeTriton, make_chunks, make_queries, make_settings
from tests.support.homes import differences

# Steps and checks of a run on the main job.
STEPS = 40


class LocalTriton(FakeTriton):
    """What a whole run needs of a session apart from answers."""

    server_pid = None

    def __init__(self, tokenizer: Path) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def tokenizer_file(self, model: str) -> Path:
        return self._tokenizer

    @contextmanager
    def models_in_use(self, models: object, *, exclusive: bool) -> Iterator[None]:
        yield

    def gpu_memory_bytes(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        pass


class StepOrder:
    """Lets the steps and checks of runs in threads pass in a given order; who is at its end leaves the rest."""

    def __init__(self, order: str) -> None:
        self._order = list(order)
        self._changed = threading.Condition()
        self._on: str | None = None
        self._ended: set[str] = set()
        self.edit = lambda: None

    def _next(self) -> str | None:
        while self._order and (self._order[0] == "e" or self._order[0] in self._ended):
            if self._order.pop(0) == "e":
                self.edit()
        return self._order[0] if self._order else None

    def wait(self, name: str) -> None:
        with self._changed:
            if self._on == name:
                self._on = None
                self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._on is None and self._next() in (name, None), timeout=120)
            if self._order:
                self._order.pop(0)
            self._on = name

    def end(self, name: str) -> None:
        with self._changed:
            self._ended.add(name)
            self._on = None if self._on == name else self._on
            self._changed.notify_all()


class World:
    """A corpus of one collection, a home, and runs in this process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch, self.edits = root, monkeypatch, 0
        self.folder = root / "corpus" / "kb"
        self.folder.mkdir(parents=True)
        write_tokenizer(root / "tokenizer.json")
        self.order_of_steps: StepOrder | None = None
        self.names: dict[int, str] = {}
        for module in (materialize, blocking):
            monkeypatch.setattr(module, "collections_of_run", self._wait_for_step)
        self.edit()

    def _wait_for_step(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
        name = self.names.get(threading.get_ident())
        if self.order_of_steps is not None and name is not None:
            self.order_of_steps.wait(name)
        return collections_of_run(instance, run)

    def edit(self) -> None:
        self.edits += 1
        for number in range(4):
            text = f"# Title {number}\n\nwhale sea {self.edits} bread {number}\n" if number != self.edits % 4 else ""
            (self.folder / f"d{number}.md").write_text(text or f"# Steady {number}\n\nthe same text\n", "utf-8")

    def run(self, home: str = "home") -> tuple[dg.ExecuteInProcessResult, Pipeline]:
        settings = make_settings(self.root / home, corpus_dir=self.root / "corpus", metrics_enabled=False)
        pipeline = Pipeline(settings)
        pipeline.triton = LocalTriton(self.root / "tokenizer.json")  # type: ignore[assignment]
        pipeline.show_footer = lambda _: None
        folder = self.root / f"dagster-{home}"
        folder.mkdir(exist_ok=True)
        (folder / "dagster.yaml").write_text(DAGSTER_CONFIG, "utf-8")
        with open_instance(folder) as instance:
            register(instance, ["kb"])
            result = defs.resolve_job_def(rag_tables.name).execute_in_process(
                instance=instance,
                run_id=str(uuid.uuid4()),
                resources={"pipeline": pipeline},
                tags={"dagster/asset_partition_range_start": "kb", "dagster/asset_partition_range_end": "kb"},
                run_config=QUIET,
                raise_on_error=False,
            )
        return result, pipeline

    def run_both(self, order: str) -> dict[str, tuple[dg.ExecuteInProcessResult, Pipeline]]:
        found: dict[str, tuple[dg.ExecuteInProcessResult, Pipeline]] = {}
        self.order_of_steps = order_of_steps = StepOrder(order)
        order_of_steps.edit = self.edit

        def work(name: str) -> None:
            self.names[threading.get_ident()] = name
            try:
                # Dagster sets its logging up at the start of a run, which no other thread may use meanwhile.
                order_of_steps.wait(name)
                found[name] = self.run()
            finally:
                order_of_steps.end(name)

        threads = [threading.Thread(target=work, args=(name,)) for name in "AB"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.order_of_steps = None
        return found


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> Iterator[Path]:
    """A home after a run on the first state of the corpus, and one that has only seen the last."""
    root = tmp_path_factory.mktemp("homes")
    with pytest.MonkeyPatch.context() as patch:
        world = World(root, patch)
        for home in ("first", "rebuilt"):
            result, _ = world.run(home)
            assert result.success, problems(result.all_events)
            world.edit()
            world.edit()
    return root


@pytest.fixture
def world(tmp_path, homes, monkeypatch) -> World:
    world = World(tmp_path, monkeypatch)
    for folder in ("{}", "dagster-{}"):
        shutil.copytree(homes / folder.format("first"), tmp_path / folder.format("home"))
    world.edit()
    return world


def shuffled(seed: int) -> str:
    """An order in which the edit comes before the second run looks at the files."""
    chance = random.Random(seed)
    rest = list("AB" * STEPS)
    chance.shuffle(rest)
    return "A" * chance.randint(3, 14) + "e" + "".join(rest)


ORDERS = {
    "second whole after chunks": f"{'A' * 5}e{'B' * STEPS}{'A' * STEPS}",
    "second whole before exports": f"{'A' * 16}e{'B' * STEPS}{'A' * STEPS}",
    "second chunks, first goes on": f"{'A' * 8}e{'B' * 4}{'A' * STEPS}{'B' * STEPS}",
    **{f"seed {seed}": shuffled(seed) for seed in range(1)},
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_both_runs_leave_what_a_rebuild_makes(world, homes, order):
    found = world.run_both(order)
    for result, _ in found.values():
        assert result.success, problems(result.all_events)
    assert differences(world.root / "home", homes / "rebuilt") == []
    (first, _), (second, pipeline) = found["A"], found["B"]
    assert pipeline.version_trackers[second.run_id].left_to_others == {}
    assert list(failed_checks(second.all_events, dg.AssetCheckSeverity.WARN)) == []
    left = found["A"][1].version_trackers[first.run_id].left_to_others
    assert "another run or command has changed the table" in left["kb"]
    # The manifest of the first says so, and claims no export.
    manifest = json.loads((world.root / "home" / "runs" / first.run_id / "processing_summary.json").read_text("utf-8"))
    assert any(left["kb"] in warning for warning in manifest["warnings"])
    assert manifest["exports"] == {}


def test_simultaneous_runs_without_edits_supersede_nothing(world):
    for result, pipeline in world.run_both("AB" * STEPS).values():
        assert result.success, problems(result.all_events)
        assert pipeline.version_trackers[result.run_id].left_to_others == {}


def test_another_process_knows_what_earlier_steps_have_read(world):
    result, pipeline = world.run()
    known = pipeline.version_trackers[result.run_id]
    pipeline.version_trackers.clear()
    with open_instance(world.root / "dagster-home") as instance:
        again = version_tracker(pipeline, instance, result.run_id)
        assert vars(again) == vars(known)
        assert again.change_by_others(pipeline.store, "kb") is None
        pipeline.store.remove("chunks", "kb")
        assert "changed the table 'chunks'" in again.change_by_others(pipeline.store, "kb")


@pytest.fixture
def store(tmp_path) -> TableStore:
    store = TableStore(tmp_path)
    for name in ("kb", "other"):
        for number in range(3):
            store.replace("queries", name, make_queries(f"text {number}", collection=name))
    return store


def tracker_of(store: TableStore) -> VersionTracker:
    tracker = VersionTracker()
    tracker.record(store, "kb", ["queries", "chunks", "no table"])
    return tracker


def test_unrelated_changes_supersede_nothing(store):
    tracker = tracker_of(store)
    assert tracker.change_by_others(store, "kb") is None
    store.replace("queries", "other", make_queries("new", collection="other"))
    store.append("queries", make_queries("more", collection="other"))
    maintain(store, 7)
    assert tracker.change_by_others(store, "kb") is None


def test_every_change_of_a_collection_is_seen(store):
    changes = {
        "replaced": lambda: store.replace("queries", "kb", make_queries("new")),
        "removed": lambda: store.remove("queries", "kb"),
        "restored": lambda: restore(store, "queries", 0),
        "appended": lambda: store.append("queries", make_queries("more")),
        "deleted and inserted": lambda: store.delete_and_insert(
            "queries", "kb", make_queries("z"), make_queries("more").select("text")
        ),
        "made": lambda: store.append("chunks", make_chunks("text")),
        "made anew": lambda: (shutil.rmtree(store.path("queries")), store.append("queries", make_queries("anew"))),
    }
    for name, change in changes.items():
        tracker = tracker_of(store)
        change()
        assert tracker.change_by_others(store, "kb") is not None, name


def test_step_on_newer_rows_hides_nothing(store):
    tracker = tracker_of(store)
    store.replace("queries", "kb", make_queries("new"))
    tracker.record(store, "kb", ["queries"])
    assert tracker.change_by_others(store, "kb") is not None
