"""The header row of a table in front of the chunks that begin below it."""

from __future__ import annotations

import hashlib
import time

import polars as pl
import pytest

from embedder_assets.chunking.chunker import Chunk, Chunker
from embedder_assets.chunking.context import ContextChunker
from embedder_assets.chunking.stage import ChunkStage
from embedder_assets.chunking.table_header import find_tables
from embedder_assets.corpus.document import Document
from embedder_assets.embedding.lexical import LexicalEncoder
from embedder_assets.embedding.passage import PASSAGE, passages
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_documents, make_meter, make_settings

# The vocabulary of all three default models.
TOKENIZER = PROJECT_ROOT / "model_repository" / "rerank_cross_encoder" / "tokenizer.json"
MAX_TOKENS = 64
HEADER = "| Article | Torque in Nm |"
DELIMITER = "| --- | ---: |"


def table(rows: int, header: str = HEADER, delimiter: str = DELIMITER) -> str:
    return "\n".join([header, delimiter, *(f"| bolt number {row} | {row * 7} |" for row in range(rows))])


def chunks_of(text: str, media_type: str = "text/markdown", max_tokens: int = MAX_TOKENS) -> list[Chunk]:
    document = Document("kb", "a.md", text, media_type, len(text), "Bolts")
    chunker = Chunker(TOKENIZER, max_tokens)
    chunks = chunker.chunk(document)
    end = 0
    for chunk in chunks:
        read = f"{chunk.table_header}\n{chunk.text}" if chunk.table_header else chunk.text
        assert chunk.token_count == len(chunker._tokenizer.encode(read)) <= max_tokens
        assert chunk.text == text[chunk.start : chunk.end]
        assert not text[end : chunk.start].strip()
        end = chunk.end
    assert not text[end:].strip()
    return chunks


@pytest.mark.parametrize("before", ["", "# Bolts\n\nWords.\n\n", "Words about bolts. " * 40 + "\n\n"])
def test_chunks_below_a_header_repeat_it(before):
    chunks = chunks_of(f"{before}{table(40)}\n\nWords below.\n")
    assert len(chunks) > 4
    (top,) = [at for at, chunk in enumerate(chunks) if HEADER in chunk.text]
    last = next(at for at, chunk in enumerate(chunks) if "number 39" in chunk.text)
    assert [chunk.table_header for chunk in chunks[: top + 1]] == [None] * (top + 1)
    assert {chunk.table_header for chunk in chunks[top + 1 : last + 1]} == {HEADER}
    assert {chunk.table_header for chunk in chunks[last + 1 :]} <= {None}


def test_a_chunk_ends_at_the_end_of_a_row():
    below = [chunk for chunk in chunks_of(table(40)) if chunk.table_header]
    assert {chunk.text.startswith("| bolt") and chunk.text.endswith("|") for chunk in below} == {True}


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("Article | Torque", "---|---"), ("| Article |", "|---|"), ("> | Article | Torque |", "> |:--|--:|")],
)
def test_headers_in_every_form(header, delimiter):
    below = [chunk for chunk in chunks_of(table(40, header, delimiter)) if chunk.start]
    assert {chunk.table_header for chunk in below} == {header.removeprefix("> ")}


@pytest.mark.parametrize(
    "text",
    [
        table(40, header="| " + "very wide header " * 8 + "|"),
        table(40, header="|  |  |"),
        table(40).replace(DELIMITER, "no table"),
        table(40).replace("| bolt", "bolt").replace("|", "-"),
        "# Bolts\n\n" + "Words about bolts. " * 60,
    ],
)
def test_no_header_where_there_is_none_or_no_room(text):
    assert {chunk.table_header for chunk in chunks_of(text)} == {None}


def test_plain_text_has_no_tables():
    assert {chunk.table_header for chunk in chunks_of(table(40), "text/plain")} == {None}


def test_a_row_longer_than_a_chunk_keeps_its_header():
    text = table(2) + "\n| long | " + "words of the long row " * 40 + "|\n"
    chunks = chunks_of(text)
    assert len(chunks) > 3
    assert {chunk.table_header for chunk in chunks[1:]} == {HEADER}


def test_each_table_has_its_own_header():
    text = f"{table(20)}\n\nBetween.\n\n{table(20, '| Tool | Torque |')}\n"
    headers = [chunk.table_header for chunk in chunks_of(text) if chunk.table_header]
    assert sorted(set(headers)) == [HEADER, "| Tool | Torque |"]
    assert headers == sorted(headers)


def test_only_the_digest_with_a_header_differs():
    for chunk in chunks_of(f"# Bolts\n\nWords.\n\n{table(40)}"):
        read = f"{chunk.table_header}\x1e{chunk.text}" if chunk.table_header else chunk.text
        assert chunk.content_sha256 == hashlib.sha256(read.encode()).hexdigest()


def test_context_and_header_fit_together():
    text = f"# Bolts of the pump\n\n## Torques\n\n{table(40)}"
    document = Document("kb", "a.md", text, "text/markdown", len(text), "Bolts of the pump")
    chunker = ContextChunker(TOKENIZER, MAX_TOKENS)
    later = [chunk for chunk in chunker.chunk(document) if chunk.table_header]
    assert len(later) > 4
    for chunk in later:
        assert chunk.context == "Bolts of the pump > Torques"
        parts = (chunk.context, chunk.table_header, chunk.text)
        assert len(chunker._tokenizer.encode("\n".join(map(str, parts)))) <= MAX_TOKENS
        digest = hashlib.sha256("{}\x1f{}\x1e{}".format(*parts).encode()).hexdigest()
        assert chunk.content_sha256 == digest


def test_a_row_is_found_by_the_name_of_its_column(tmp_path):
    store, settings = TableStore(tmp_path), make_settings(tmp_path)
    store.replace("documents", "kb", make_documents(bolts=f"# Bolts\n\nWords.\n\n{table(40)}\n"))
    ChunkStage(store, TOKENIZER, MAX_TOKENS).run("kb", make_meter("chunk"))
    chunks = store.read("chunks", "kb").sort("chunk_index")
    assert chunks.filter(pl.col("text").str.contains("number 30"))["text"].str.contains("Torque").to_list() == [False]
    encoder = LexicalEncoder(settings)
    rows = encoder.passages(passages(chunks.select(PASSAGE), context=False).to_list())
    query = encoder.passages(["torque of bolt number 30"])["indices"][0]
    scores = [sum(index in set(query) for index in indices) for indices in rows["indices"]]
    assert "number 30" in chunks["text"][scores.index(max(scores))]
    assert scores.count(max(scores)) == 1


def test_an_unchanged_document_keeps_its_rows(tmp_path):
    store = TableStore(tmp_path)
    store.replace("documents", "kb", make_documents(bolts=table(40), words="Words about bolts. " * 60))
    stage = ChunkStage(store, TOKENIZER, MAX_TOKENS)
    stage.run("kb", make_meter("chunk"))
    assert stage.run("kb", make_meter("chunk")).documents_cut == 0


@pytest.mark.parametrize(
    "text", [" " * 300_000, "|-" * 200_000, "| a |\n|---|\n" * 50_000, "-" * 300_000, "|---|\n" * 100_000]
)
def test_hostile_tables_take_little_time(text):
    started = time.perf_counter()
    find_tables(text)
    assert time.perf_counter() - started < 3
