"""Rankings and indexes of chunks that are called by numbers."""

import polars as pl

from embedder_assets.retrieval.exact_index import ChunkIndex


def chunk_name(chunk: int) -> str:
    """An id whose order is that of the numbers."""
    return f"{chunk:03}"


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """The same with the numbers of the chunks in the place of their ids."""
    return rows.with_columns(pl.col("chunk_id").cast(pl.Int64)).drop("content_sha256")


def in_memory(index: ChunkIndex) -> ChunkIndex:
    sparse = None if index.sparse is None else list(index.sparse)
    return ChunkIndex.in_memory([list(blocks) for blocks in index.dense], sparse)
