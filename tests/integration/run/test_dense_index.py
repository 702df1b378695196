"""A collection above the size for exact search: the run keeps a graph of it, checks it, and search walks it."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.retrieval.hnsw_index import usable_index
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import Embedder, instance_of, write

SAMPLE = "triton-cookbook"
# Of the sample's collections one is above it, the corpus of the test below it.
ABOVE = {"EMBEDDER_APPROXIMATE_ABOVE": "50"}


def hits(embedder: Embedder, query: str, **variables: str) -> list[dict[str, object]]:
    found = embedder("search", query, "--collection", SAMPLE, "--top", "10", "--json", **variables)
    assert found.returncode == 0, found.stderr
    answer: list[dict[str, object]] = json.loads(found.stdout)
    return answer


def search_of(home: Path) -> dict[str, object]:
    """What the newest materialization of the index says."""
    with instance_of(home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("dense_index"))
        assert event is not None
        assert event.asset_materialization is not None
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def verdict(home: Path) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(dg.AssetKey("dense_index"), "hnsw_index_finds_exact_neighbours")
    with instance_of(home) as instance:
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        event = record.event
        assert event is not None
        assert event.dagster_event is not None
        return event.dagster_event.asset_check_evaluation_data


def test_large_collection_is_searched_by_hnsw(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "large"
    for file in sorted((PROJECT / "examples" / "corpus" / SAMPLE).rglob("*")):
        if file.is_file():
            target = corpus / SAMPLE / file.relative_to(PROJECT / "examples" / "corpus" / SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    run = embedder("run", "--corpus", str(corpus), **ABOVE)
    assert run.returncode == 0, run.stdout + run.stderr
    store = TableStore(home)
    row = store.read("dense_embeddings", SAMPLE, ["model", "model_fingerprint"], limit=1).row(0)
    assert usable_index(store, SAMPLE, ModelVersion(*row)) is not None
    first = search_of(home)
    assert first["search"] == "approximate"
    assert first["dagster/row_count"] == first["added"] == store.count("chunks", SAMPLE)
    assert verdict(home).passed
    query = "how are several requests put into one batch"
    approximate = hits(embedder, query, **ABOVE)
    exact = hits(embedder, query, EMBEDDER_APPROXIMATE_ABOVE="0")
    assert len(approximate) == 10
    assert [hit["chunk_id"] for hit in approximate] == [hit["chunk_id"] for hit in exact]
    write(corpus / SAMPLE / "otters.md", "# Otters\n\nOtters juggle pebbles on their bellies in the river.\n")
    run = embedder("run", "--corpus", str(corpus), **ABOVE)
    assert run.returncode == 0, run.stdout + run.stderr
    second = search_of(home)
    assert (second["added"], second["removed"]) == (1, 0)
    assert hits(embedder, "which animal juggles pebbles", **ABOVE)[0]["doc_id"] == "otters.md"
    # Below the size it goes, and search does not need it.
    run = embedder("run", "--corpus", str(corpus), EMBEDDER_APPROXIMATE_ABOVE="0")
    assert run.returncode == 0, run.stdout + run.stderr
    assert search_of(home)["search"] == "exact"
    assert not (home / "indexes" / SAMPLE).exists()
    assert hits(embedder, "which animal juggles pebbles")[0]["doc_id"] == "otters.md"
