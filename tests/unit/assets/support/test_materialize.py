"""What is wrong with one collection of a run is no reason to leave the others, and what cannot be read is not gone."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import dagster as dg
import pytest

from embedder_assets.assets.documents import documents
from embedder_assets.assets.queries import queries
from embedder_assets.automation.jobs import rag_tables
from embedder_assets.corpus import beir
from embedder_assets.definitions import defs
from embedder_assets.instance.sqlite_event_log import open_instance
from embedder_assets.partitions import register
from embedder_assets.run import DAGSTER_CONFIG, QUIET
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.run_failures import problems
from tests.support.checkpoints import write_tokenizer
from tests.support.factories import make_settings
from tests.support.permissions import permissions_count
from tests.unit.assets.support.test_superseded import LocalTriton

# The bad one comes first.
BAD, GOOD = "alpha", "beta"


class World:
    """Two collections with a question each, and runs in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (BAD, GOOD):
            folder = self.folder(name)
            folder.mkdir(parents=True)
            (folder / "queries.jsonl").write_text(json.dumps({"_id": f"{name}-q", "text": "whale"}), "utf-8")
        self.edit("first")
        write_tokenizer(root / "tokenizer.json")

    def folder(self, name: str) -> Path:
        return self.root / "corpus" / name

    def edit(self, word: str) -> None:
        for name in (BAD, GOOD):
            (self.folder(name) / "d.md").write_text(f"# Title\n\nwhale {word}\n", "utf-8")

    def run(self, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        """Runs the whole job, or some of its assets."""
        settings = make_settings(self.root / "home", corpus_dir=self.root / "corpus", metrics_enabled=False)
        pipeline = Pipeline(settings)
        pipeline.triton = LocalTriton(self.root / "tokenizer.json")  # type: ignore[assignment]
        pipeline.show_footer = lambda _: None
        home = self.root / "dagster"
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text(DAGSTER_CONFIG, "utf-8")
        with open_instance(home) as instance:
            register(instance, [BAD, GOOD])
            options = {
                "instance": instance,
                "resources": {"pipeline": pipeline},
                "tags": {"dagster/asset_partition_range_start": BAD, "dagster/asset_partition_range_end": GOOD},
                "run_config": QUIET,
                "raise_on_error": False,
            }
            if assets:
                return dg.materialize(assets, **options)
            return defs.resolve_job_def(rag_tables.name).execute_in_process(run_id=str(uuid.uuid4()), **options)

    def read(self, table: str, name: str, column: str) -> list[object]:
        return TableStore(self.root / "home").read(table, name)[column].to_list()


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    assert world.run(documents, queries).success
    world.edit("second")
    return world


@pytest.mark.parametrize("problem", ["file", "folder", "link"])
def test_unreadable_queries_stay_and_the_others_are_ranked(world, problem):
    path = world.folder(BAD) / "queries.jsonl"
    if problem == "link":
        path.unlink()
        path.symlink_to(path.name)
    else:
        (path if problem == "file" else path.parent).chmod(0)
    with permissions_count():
        result = world.run()
    world.folder(BAD).chmod(0o755)
    assert world.read("queries", BAD, "query_id") == [f"{BAD}-q"]
    assert world.read("document_issues", BAD, "path") == ["." if problem == "folder" else "queries.jsonl"]
    assert world.read("fused_candidates", GOOD, "query_id") == [f"{GOOD}-q"]
    if problem == "folder":
        assert any("a folder that can be read" in each for each in problems(result.all_events))
    else:
        assert result.success, problems(result.all_events)
        assert world.read("chunks", BAD, "text") == ["# Title\n\nwhale second"]


def test_late_error_fails_only_its_collection(world, monkeypatch):
    real = beir.read_lines

    def broken(file, limit):
        if BAD in file.name:
            raise OSError(5, "Input/output error")
        return real(file, limit)

    monkeypatch.setattr(beir, "read_lines", broken)
    (world.folder(GOOD) / "queries.jsonl").write_text('{"_id": "new", "text": "sea"}', "utf-8")
    result = world.run(queries)
    (problem,) = problems(result.all_events)
    assert problem.startswith(f"queries: collection '{BAD}'") and "Input/output error" in problem
    assert (world.read("queries", BAD, "query_id"), world.read("queries", GOOD, "query_id")) == ([f"{BAD}-q"], ["new"])


def test_every_collection_that_stops_a_step_is_named(world):
    for name in (BAD, GOOD):
        (world.folder(name) / "d.md").unlink()
    (problem,) = problems(world.run(documents).all_events)
    assert f"collection '{BAD}'" in problem and f"collection '{GOOD}'" in problem
    (world.folder(GOOD) / "d.md").write_text("# Title\n\nwhale third\n", "utf-8")
    (problem,) = problems(world.run(documents).all_events)
    assert f"collection '{GOOD}'" not in problem
    assert world.read("documents", GOOD, "text") == ["# Title\n\nwhale third\n"]
