"""Sparse vectors (SPLADE): the vocabulary entries that a chunk is about, each with a positive weight.

Formal, Piwowarski and Clinchant, "SPLADE: Sparse Lexical and Expansion Model for First Stage Ranking" (SIGIR 2021).
The maximum over tokens and the top-k are part of the model's graph.
"""

from __future__ import annotations

import polars as pl

from embedder_assets.errors import WrongAnswerError
from embedder_assets.serving.client.grpc import Outputs


class SparseEncoder:
    """Reads the outputs of a sparse model for the table ``sparse_embeddings``."""

    table = "sparse_embeddings"

    def __init__(self, model: str, fingerprint: str) -> None:
        self.model = model
        self.fingerprint = fingerprint

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """The columns ``indices``, ``values`` and ``source``, the largest weight first, zeros left out.

        Args:
            outputs: ``indices`` (int32) and ``values`` (float32), both of shape [rows, k].

        Raises:
            WrongAnswerError: A weight is negative.
        """
        indices, weights = outputs["indices"], outputs["values"]
        if (weights < 0).any():
            raise WrongAnswerError(
                f"output 'values' of model '{self.model}'",
                expected="weights of 0 or more",
                got=f"{weights.min():.4f}",
                remedy="Nothing was written. `embedder models verify` tells whether the model is whole.",
            )
        frame = pl.DataFrame({"indices": indices, "values": weights, "kept": (weights > 0).sum(axis=1)})
        return frame.select(
            pl.col("indices").arr.to_list().list.head(pl.col("kept")).cast(pl.List(pl.Int32)),
            pl.col("values").arr.to_list().list.head(pl.col("kept")),
            source=pl.lit("model"),
        )
