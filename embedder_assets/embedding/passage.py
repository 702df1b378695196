"""What the models read of a chunk, in every stage alike: dense and sparse vectors, lexical ones, and reranking."""

from __future__ import annotations

import polars as pl

from embedder_assets.serving.models.description import CONTEXT_SEPARATOR

# The columns that a passage is made from, in their order.
PASSAGE = ["context", "table_header", "text"]


def passages(chunks: pl.DataFrame, *, context: bool) -> pl.Series:
    """What a model reads of chunks: the text below the header row of the table that it continues.

    Args:
        chunks: The columns of ``PASSAGE``; ``context`` only where it is asked for.
        context: Whether the model reads a context in front of that. Dense models may; sparse and rerank models never
            do, and neither do lexical vectors.
    """
    columns = PASSAGE if context else PASSAGE[1:]
    return chunks.select(pl.concat_str(columns, separator=CONTEXT_SEPARATOR, ignore_nulls=True)).to_series()
