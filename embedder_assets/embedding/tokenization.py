"""What the models' tokenizers make of a collection's chunks and queries, counted on a sample of them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from embedder_assets.embedding.passage import PASSAGE, passages
from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import Role
from embedder_assets.tables.digest_ranges import MAX_RANGES, equal_ranges
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import Tokenization

# Some 20,000 tokens, counted in 0.05 s: enough to tell a tenth from nothing, little enough for a run without changes.
SAMPLE_TEXTS = 128


def chunk_sample(store: TableStore, collection: str) -> pl.DataFrame:
    """Chunks of a collection, as if drawn by chance, but always the same: the first by digest; for ``passages``."""
    ranges = equal_ranges(min(max(1, store.count("chunks", collection) // SAMPLE_TEXTS), MAX_RANGES))
    chunks = store.read("chunks", collection, ["content_sha256", *PASSAGE], where=ranges[0].rows)
    return chunks.unique("content_sha256").sort("content_sha256").head(SAMPLE_TEXTS)


def query_sample(store: TableStore, collection: str) -> list[str]:
    """The first queries of a collection by their ids."""
    queries = store.read("queries", collection, ["query_id", "text"])
    return queries.sort("query_id").head(SAMPLE_TEXTS)["text"].to_list()


def tokenization_by_model(
    store: TableStore, triton: TritonSession, collection: str, models: Sequence[str]
) -> dict[str, Tokenization]:
    """How the models' tokenizers read a sample of a collection's chunks; without those that are not there."""
    chunks = chunk_sample(store, collection)
    read = {model: chunk_tokenization(triton, model, chunks) for model in models}
    return {model: found for model, found in read.items() if found is not None}


def chunk_tokenization(triton: TritonSession, model: str, chunks: pl.DataFrame) -> Tokenization | None:
    """How a model's tokenizer reads the chunks of a sample, with their context where the model reads one."""
    try:
        context = triton.reads_context(model)
    except ModelBuildError:
        return None
    return tokenization(triton, model, [(text,) for text in passages(chunks, context=context)])


def tokenization(
    triton: TritonSession, model: str, rows: Sequence[tuple[str, ...]], role: Role = "passage"
) -> Tokenization | None:
    """How a model's tokenizer reads some texts or pairs of texts; None where the model repository has none of it.

    A repository for servers elsewhere need have no tokenizer but that of the first dense model, which cuts the chunks.
    """
    try:
        counts = triton.count_tokens(model, rows, role)
    except ModelBuildError:
        return None
    return Tokenization(
        texts=counts.texts,
        unknown=_share(counts.unknown, counts.tokens),
        spelled_out=_share(counts.spelled_out, counts.tokens),
        unreadable=_share(counts.unreadable, counts.texts),
        truncated=_share(counts.truncated, counts.texts),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
