"""What of a collection's documents is not in their text: rows of ``document_issues`` of kind ``partial``.

They are made from the documents in the table, so that a document that is not read again keeps its rows.
"""

from __future__ import annotations

import polars as pl

PARTIAL = "partial"
COLUMNS = ["doc_id", "source_sha256", "extraction", "omissions"]


def partial_issues(documents: pl.DataFrame) -> pl.DataFrame:
    """One row per kind of part that a document lacks.

    Args:
        documents: The columns of ``COLUMNS``.

    Returns:
        Columns path, kind, message, source_sha256, extraction, part, count.
    """
    lacking = documents.filter(pl.col("omissions").list.len() > 0).explode("omissions").unnest("omissions")
    detail = pl.when(pl.col("detail") == "").then(pl.lit("")).otherwise(pl.concat_str(pl.lit(" "), "detail"))
    return lacking.select(
        pl.col("doc_id").alias("path"),
        pl.lit(PARTIAL).alias("kind"),
        pl.concat_str(pl.format("{}: {} not in the text.", "part", "count"), detail).alias("message"),
        "source_sha256",
        "extraction",
        "part",
        "count",
    )
