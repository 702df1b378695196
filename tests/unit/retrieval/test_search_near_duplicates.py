"""Search shows what near-equal documents say once, and hides nothing that was asked for."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from embedder_assets.cli.display import show_hits
from embedder_assets.corpus.near_duplicates import update_near_duplicates
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.retrieval.search import Hit, Search
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    make_chunks,
    make_documents,
    make_meter,
    make_settings,
)

PAGE = (
    "The pump stops when the seal is worn and the pressure falls below the limit that the label on its back names. "
    "Turn it off, wait until it is cold, open the four screws of the cover and take the seal out with a flat tool. "
)
INVOICE = (
    "Invoice {} for customer 77120, Main Street 5, Town. One pump seal kit. Payment within thirty days to the account "
    "that is named below. Thank you for your order. Example Pumps Ltd, registered office Town, court of Town, 123."
)


class World:
    """A collection with a chunk a paragraph, searched after its stages have run."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.store, self.triton = TableStore(home), FakeTriton()
        self.settings = make_settings(home, **settings)

    def fill(self, texts: dict[str, str], collection: str = "kb") -> None:
        self.store.replace("documents", collection, make_documents(collection, **texts))
        update_near_duplicates(self.store, collection)
        chunks = [
            make_chunks(*text.split("\n\n"), doc_id=f"{name}.md", collection=collection) for name, text in texts.items()
        ]
        self.store.replace("chunks", collection, pl.concat(chunks))
        for encoder in (DenseEncoder(DENSE, "dense-1"), SparseEncoder(SPARSE, "sparse-1")):
            EmbeddingStage(self.store, self.triton, self.settings, [encoder]).run(collection, make_meter("dense"))

    def search(self, query: str, top: int = 10, *, collapse: bool = True) -> list[Hit]:
        return Search(self.store, self.triton, self.settings, []).search(query, top, collapse=collapse)


@pytest.fixture(params=[True, False], ids=["reranked", "fused"])
def world(tmp_path, request) -> World:
    return World(tmp_path, enable_rerank=request.param)


def copies(count: int) -> dict[str, str]:
    return {f"copy{number:03}": f"{PAGE}Printed on day {number}." for number in range(count)}


OTHERS = {f"other{number:02}": f"About pump {number} there is note{number} to read" for number in range(20)}


def test_twelve_copies_are_one_hit(world):
    world.fill({**copies(12), **OTHERS})
    hits = world.search("the pump stops when the seal is worn")
    shown = [hit for hit in hits if hit.doc_id.startswith("copy")]
    assert [hit.near_duplicates for hit in shown] == [11]
    assert len({hit.doc_id for hit in hits}) == 10
    assert [hit.rank for hit in hits] == sorted(hit.rank for hit in hits)


def test_all_shows_every_copy(world):
    world.fill({**copies(12), **OTHERS})
    hits = world.search("the pump stops when the seal is worn", 40, collapse=False)
    assert sum(hit.doc_id.startswith("copy") for hit in hits) == 12
    assert {hit.near_duplicates for hit in hits} == {0}


def test_copies_do_not_fill_the_rerank_depth(tmp_path):
    world = World(tmp_path, rerank_depth=5)
    world.fill({**copies(12), **OTHERS})
    hits = world.search("the pump stops when the seal is worn", 5)
    assert len([hit for hit in hits if hit.cross_encoder_score is not None]) == 5
    assert len({hit.doc_id for hit in hits}) == 5
    assert sum(hit.doc_id.startswith("copy") for hit in hits) <= 1


def test_copies_do_not_fill_the_candidates(tmp_path):
    world = World(tmp_path, candidate_depth=10, enable_rerank=False)
    world.fill({**copies(60), **OTHERS})
    hits = world.search("the pump stops when the seal is worn")
    assert len(hits) == 10
    assert sum(hit.doc_id.startswith("copy") for hit in hits) == 1


def test_each_invoice_is_found_by_its_number(world):
    world.fill({f"i{number}": INVOICE.format(number) for number in range(4150, 4170)})
    for number in (4150, 4151, 4168):
        hits = world.search(f"invoice {number}")
        assert f"i{number}.md" in [hit.doc_id for hit in hits]
        assert len(hits) <= 2


def test_other_passages_of_near_equal_documents_stay(world):
    manual = [f"Step{number} says that part{number} goes into hole{number} of the frame." for number in range(12)]
    one, other = "\n\n".join(manual), "\n\n".join([*manual, "Step12 was added later."])
    world.fill({"first": one, "second": other, **OTHERS})
    hits = world.search("says that goes into the frame", 20)
    steps = [hit.text for hit in hits if hit.text.startswith("Step") and "hole" in hit.text]
    assert len(steps) == len(set(steps)) >= 5
    assert {hit.near_duplicates for hit in hits if hit.text in manual} == {1}


def test_passages_of_one_document_are_not_collapsed(world):
    text = "\n\n".join([PAGE] * 3)
    world.fill({"a": text, "b": f"{text} Printed twice."})
    hits = world.search("the pump stops", 10)
    assert len({hit.doc_id for hit in hits}) == 1
    assert len(hits) == 3


def test_copies_in_other_collections_stay(world):
    world.fill(copies(3))
    world.fill(copies(3), "archive")
    hits = world.search("the pump stops when the seal is worn")
    assert sorted((hit.collection, hit.near_duplicates) for hit in hits) == [("archive", 2), ("kb", 2)]


def test_tables_of_an_earlier_version_are_searched(world):
    world.fill({**copies(3), **OTHERS})
    world.store.replace("near_duplicates", "kb", world.store.read("near_duplicates", "kb").clear())
    hits = world.search("the pump stops when the seal is worn", 40)
    assert sum(hit.doc_id.startswith("copy") for hit in hits) == 3


def test_display_says_how_many_are_not_shown(world, capsys):
    world.fill({**copies(12), **OTHERS})
    show_hits(world.search("the pump stops when the seal is worn", 40), "pump")
    assert "and 11 near-equal documents; --all shows them" in " ".join(capsys.readouterr().out.split())
