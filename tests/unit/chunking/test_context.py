"""The title and the headings that stand in front of a chunk which does not say them."""

from __future__ import annotations

import hashlib

import polars as pl
import pytest

from embedder_assets.chunking.chunker import Chunk, Chunker
from embedder_assets.chunking.context import ContextChunker
from embedder_assets.chunking.stage import ChunkOutcome, ChunkStage
from embedder_assets.corpus.document import Document
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.corpora.folder import rows_of
from tests.support.factories import make_meter

# The vocabulary of all three default models.
TOKENIZER = PROJECT_ROOT / "model_repository" / "rerank_cross_encoder" / "tokenizer.json"
MAX_TOKENS = 64
SENTENCES = " ".join(f"Sentence number {number} says something about whales." for number in range(40))


def document(text: str, title: str = "Marine life", doc_id: str = "sea/guide.md") -> Document:
    return Document("kb", doc_id, text, "text/markdown", len(text), title)


def chunks_of(text: str, title: str = "Marine life", max_tokens: int = MAX_TOKENS, **named: str) -> list[Chunk]:
    chunks = ContextChunker(TOKENIZER, max_tokens).chunk(document(text, title, **named))
    tokenizer = Chunker(TOKENIZER, max_tokens)._tokenizer
    for chunk in chunks:
        embedded = f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text
        assert chunk.text == text[chunk.start : chunk.end]
        hashed = f"{chunk.context}\x1f{chunk.text}" if chunk.context else chunk.text
        assert chunk.content_sha256 == hashlib.sha256(hashed.encode()).hexdigest()
        assert len(tokenizer.encode(embedded)) <= max_tokens
        assert chunk.title == title
    return chunks


def test_later_chunks_say_title_and_headings():
    first, *later = chunks_of(f"# Marine life\n\n## Mammals\n\n{SENTENCES}")
    assert first.context is None
    assert {chunk.context for chunk in later} == {"Marine life > Mammals"}


def test_what_the_text_says_is_left_out():
    first, *later = chunks_of(f"# Mammals of the sea\n\n{SENTENCES}", title="Whales")
    assert first.context is None  # it has whales
    assert {chunk.context for chunk in later} == {"Mammals of the sea"}


@pytest.mark.parametrize(("title", "doc_id"), [("guide", "sea/guide.md"), ("17", "17")])
def test_a_name_is_no_title(title, doc_id):
    assert {chunk.context for chunk in chunks_of(SENTENCES, title, doc_id=doc_id)} == {None}


@pytest.mark.parametrize("text", ["Marine life is old.", "# Marine life\n\nOld."])
def test_a_short_document_that_says_its_title_is_left_alone(text):
    (chunk,) = chunks_of(text)
    (plain,) = Chunker(TOKENIZER, MAX_TOKENS).chunk(document(text))
    assert chunk.context is None
    assert chunk.content_sha256 == plain.content_sha256


def test_a_context_is_not_taken_for_text():
    (titled,) = chunks_of("Whales are old.")
    (said,) = chunks_of("Marine life\nWhales are old.")
    assert said.context is None
    assert titled.content_sha256 != said.content_sha256  # the sparse model reads other texts


def test_a_short_document_gets_the_title_that_it_lacks():
    (chunk,) = chunks_of("Whales are old.")
    assert chunk.context == "Marine life"


def test_a_document_without_title_and_headings_is_cut_as_ever():
    chunks = chunks_of(SENTENCES, title="guide")
    plain = Chunker(TOKENIZER, MAX_TOKENS).chunk(document(SENTENCES))
    assert [(chunk.start, chunk.end) for chunk in chunks] == [(chunk.start, chunk.end) for chunk in plain]


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_has_no_chunk(text):
    assert chunks_of(text) == []


def test_a_long_context_is_cut():
    title = " ".join(f"word{number}" for number in range(40))
    chunks = chunks_of(SENTENCES, title)
    assert len(chunks) > 1
    assert {chunk.context for chunk in chunks} == {"word0 word1 word2 word"}  # 7 tokens, of an eighth of 64


def test_a_model_that_reads_little_has_no_context():
    assert {chunk.context for chunk in chunks_of(SENTENCES, max_tokens=32)} == {None}


def put(store: TableStore, **titles: str) -> None:
    """Documents of the same text, each with a title."""
    text = f"Old.\n\n{SENTENCES}"
    row = {"collection": "kb", "media_type": "text/plain", "size_bytes": 1, "text": text, "extraction": "test"}
    row |= {name: hashlib.sha256(text.encode()).hexdigest() for name in ("content_sha256", "source_sha256")}
    rows = [{**row, "doc_id": f"{name}.txt", "title": title} for name, title in titles.items()]
    store.replace("documents", "kb", pl.DataFrame(rows, schema=SCHEMAS["documents"]))


def run(store: TableStore, *, context: bool = True) -> ChunkOutcome:
    return ChunkStage(store, TOKENIZER, MAX_TOKENS, context=context).run("kb", make_meter("chunk"))


def test_another_title_cuts_its_document_again(tmp_path):
    store = TableStore(tmp_path / "home")
    put(store, a="Marine life", b="Whales of the north")
    first = run(store)
    assert run(store) == ChunkOutcome(rows=first.rows, documents_cut=0, computed=0, deleted=0)
    before = rows_of(tmp_path / "home", "chunks")
    put(store, a="Marine life", b="Whales of the south")
    assert run(store).documents_cut == 1
    after = rows_of(tmp_path / "home", "chunks")
    other = before.join(after, on=["chunk_id", "content_sha256"], how="anti")
    assert set(other["doc_id"]) == {"b.txt"}
    rebuilt = TableStore(tmp_path / "rebuilt")
    put(rebuilt, a="Marine life", b="Whales of the south")
    run(rebuilt)
    assert rows_of(tmp_path / "rebuilt", "chunks").equals(after)


def test_context_off_again_gives_the_chunks_of_before(tmp_path):
    store = TableStore(tmp_path)
    put(store, a="Marine life")
    run(store, context=False)
    before = rows_of(tmp_path, "chunks")
    assert before["context"].null_count() == before["title"].null_count() == before.height
    run(store)
    assert rows_of(tmp_path, "chunks")["context"].drop_nulls().len()
    run(store, context=False)
    assert rows_of(tmp_path, "chunks").equals(before)
    put(store, a="Another title")
    assert run(store, context=False).documents_cut == 0
