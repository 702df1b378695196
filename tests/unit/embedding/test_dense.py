"""Dense vectors of the answers of a model."""

import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.dense import DenseEncoder, as_matrix
from embedder_assets.errors import InferenceError
from embedder_assets.tables.schemas import SCHEMAS

DENSE = DenseEncoder("d", "f")


def test_dense_vectors_become_float32_lists():
    frame = DENSE.values({"embedding": np.array([[1, 0], [0, -1]], np.float32)})
    assert frame.schema == {"embedding": SCHEMAS["dense_embeddings"]["embedding"]}
    assert frame["embedding"].to_list() == [[1, 0], [0, -1]]


@pytest.mark.parametrize("scale", [0.0, 0.99, 1.01])
def test_dense_vector_not_of_length_one_is_refused(scale):
    outputs = {"embedding": np.array([[1, 0], [scale, 0]], np.float32)}
    with pytest.raises(InferenceError, match=f"model 'd'.*{scale:.4f}.*normalize = true"):
        DENSE.values(outputs)


def test_rounding_of_float32_is_no_reason_to_refuse():
    vectors = np.random.default_rng(0).normal(size=(50, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert DENSE.values({"embedding": vectors}).height == 50


def test_column_of_vectors_becomes_a_matrix():
    column = pl.Series([[1.0, 0.0], [0.6, 0.8]], dtype=pl.List(pl.Float32))
    matrix = as_matrix(column)
    assert matrix.dtype == np.float32
    assert matrix.tolist() == column.to_list()
    assert as_matrix(column.clear()).shape == (0, 0)
