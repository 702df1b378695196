"""Nothing is computed twice, and whatever happens to the files, the tables are those of a rebuild from nothing."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.common.stub_models import triton_with_stub_models
from embedder_assets.export.export import export_folder
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support import loaded
from tests.support.command import environment, write
from tests.support.corpora.editor import Editor, document
from tests.support.homes import differences
from tests.support.loaded import LoadedCommand
from tests.support.servers.served import inference_counts

DOCUMENTS = 650
OPERATIONS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    with triton_with_stub_models(tmp_path_factory.mktemp("triton")) as server:
        yield server


def embedder(server: EmbeddedTriton, home: Path, corpus: Path, **variables: str) -> LoadedCommand:
    said = home.with_suffix(".txt")
    with said.open("wb") as file:
        command = ["embedder", "run", "--corpus", str(corpus)]
        variables = environment(home, EMBEDDER_TRITON_URL=server.address.grpc, **variables)
        return loaded.start(command, variables, home.parent, file, file)


def run(server: EmbeddedTriton, home: Path, corpus: Path, **variables: str) -> None:
    process = embedder(server, home, corpus, **variables)
    assert process.wait(240) == 0, home.with_suffix(".txt").read_text()


# 650 documents


def test_only_changes_are_computed_and_deletions_propagate(server: EmbeddedTriton, home: Path, tmp_path: Path) -> None:
    chance = random.Random(5)
    corpus, folder = tmp_path / "corpus", tmp_path / "corpus" / "handbook"
    for number in range(DOCUMENTS):
        write(folder / f"{number % 13:02}" / f"{number:03}.md", document(chance, number))
    files = sorted(folder.rglob("*.md"))

    def cost(**variables: str) -> int:
        before = sum(inference_counts(server.address).values())
        run(server, home, corpus, **variables)
        return sum(inference_counts(server.address).values()) - before

    full = cost()
    store = TableStore(home)
    assert store.count("documents", "handbook") == DOCUMENTS
    assert full >= 2 * store.count("chunks", "handbook") > 4 * DOCUMENTS
    assert cost() == 0, "unchanged"

    for file in files[::100]:
        text = file.read_text("utf-8")
        file.write_text(text.replace(".", f". An edit of {file.stem}.", 1), "utf-8")
    edited = cost()
    assert 0 < edited <= 0.02 * full, f"1 % edited: {edited} of {full}"

    for number, file in enumerate(files[200:250]):
        target = file.with_name(f"renamed-{file.name}") if number % 2 else folder / "moved" / file.name
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
    assert cost() == 0, "50 renamed"
    assert store.count("documents", "handbook") == DOCUMENTS

    shutil.copy(files[300], folder / "copy.md")
    assert cost() == 0, "a copy"
    assert cost(EMBEDDER_CANDIDATE_DEPTH="90") <= 0.02 * full, "only pairs that are new among the best"

    gone = files[400:450]
    for file in gone:
        file.unlink()
    cost(EMBEDDER_CANDIDATE_DEPTH="90")
    lost = {file.relative_to(folder).as_posix() for file in gone}
    assert_gone(home, lost)


def assert_gone(home: Path, lost: set[str]) -> None:
    """No row of some documents is left, in tables or exports."""
    store = TableStore(home)
    chunks = set(store.read("chunks", "handbook")["chunk_id"])
    digests = set(store.read("chunks", "handbook")["content_sha256"])
    for table, schema in SCHEMAS.items():
        rows = store.read(table, "handbook")
        if "doc_id" in schema:
            assert not lost & set(rows["doc_id"]), table
        if "chunk_id" in schema:
            assert set(rows["chunk_id"].drop_nulls()) <= chunks, table
        if {"chunk_id", "content_sha256"} <= schema.keys():
            assert set(rows["content_sha256"].drop_nulls()) <= digests, table
    queries = set(store.read("queries", "handbook")["query_id"])
    for table in ("query_embeddings", "fused_candidates", "reranked_candidates"):
        assert set(store.read(table, "handbook")["query_id"]) <= queries, table
    exports = export_folder(home, "handbook")
    for file in exports.glob("*.parquet"):
        assert not lost & set(pl.read_parquet(file)["doc_id"]), file.name
    assert set(np.load(exports / "dense.npz")["chunk_id"]) == chunks
    points = [json.loads(line) for line in (exports / "qdrant_points.jsonl").read_text("utf-8").splitlines()]
    assert {point["id"] for point in points} == chunks
    assert not lost & {point["payload"]["doc_id"] for point in points}


# 200 operations


def test_random_edits_and_kills_equal_a_rebuild(server: EmbeddedTriton, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    editor = Editor(corpus, seed=20)
    killed = 0
    for number in range(OPERATIONS):
        editor.change()
        if number % 12 == 11:
            process = embedder(server, home, corpus)
            if number % 36 == 35:
                time.sleep(editor.chance.uniform(0.2, 2.0))
                process.kill()
                killed += process.wait() != 0
            assert process.wait(240) == 0 or number % 36 == 35, home.with_suffix(".txt").read_text()
    assert killed >= 3
    run(server, home, corpus)
    run(server, tmp_path / "fresh", corpus)
    assert differences(home, tmp_path / "fresh") == []
