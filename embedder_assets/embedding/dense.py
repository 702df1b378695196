"""Dense vectors: one unit vector of float32 per chunk."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.errors import WrongAnswerError
from embedder_assets.serving.client.grpc import Outputs
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings

UNIT_LENGTH_TOLERANCE = 1e-3


def token_budget(settings: Settings, triton: TritonSession) -> int:
    """The most tokens a chunk may have, special tokens included: what every dense model reads whole."""
    return min(triton.max_tokens(model) for model in settings.dense_models)


class DenseEncoder:
    """Reads the outputs of a dense model for the table ``dense_embeddings``."""

    table = "dense_embeddings"

    def __init__(self, model: str, fingerprint: str) -> None:
        self.model = model
        self.fingerprint = fingerprint

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """The column ``embedding`` (list of float32), from an array of shape [rows, dimension].

        Raises:
            WrongAnswerError: A vector is not of unit length.
        """
        embedding = outputs["embedding"]
        lengths = np.linalg.norm(embedding, axis=1)
        if not np.allclose(lengths, 1.0, atol=UNIT_LENGTH_TOLERANCE):
            raise WrongAnswerError(
                f"output 'embedding' of model '{self.model}'",
                expected="vectors of length 1",
                got=f"lengths from {lengths.min():.4f} to {lengths.max():.4f}",
                remedy="Nothing was written. Set normalize = true in the model's model.toml and build it again.",
            )
        return pl.DataFrame({"embedding": embedding}).select(pl.col("embedding").arr.to_list())


def as_matrix(embedding: pl.Series) -> NDArray[np.float32]:
    """A column of vectors as one array of shape [rows, dimension]; [rows, 0] when there are none.

    A row without a vector is NaN.
    """
    first = embedding.drop_nulls().head(1)
    if not len(first):
        return np.empty((len(embedding), 0), np.float32)
    matrix: NDArray[np.float32] = embedding.list.to_array(len(first[0])).to_numpy()
    return matrix
