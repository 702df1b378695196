"""Sparse vectors of the answers of a model."""

import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.errors import InferenceError
from embedder_assets.tables.schemas import SCHEMAS

SPARSE = SparseEncoder("s", "f")


def sparse_outputs(indices, values) -> dict[str, np.ndarray]:
    return {"indices": np.array(indices, np.int32), "values": np.array(values, np.float32)}


def test_sparse_zeros_are_left_out():
    frame = SPARSE.values(sparse_outputs([[7, 3, 0], [5, 0, 0]], [[2.5, 1.0, 0.0], [0.5, 0.0, 0.0]]))
    assert frame["indices"].to_list() == [[7, 3], [5]]
    assert frame["values"].to_list() == [[2.5, 1.0], [0.5]]
    assert frame["source"].to_list() == ["model", "model"]


def test_sparse_row_of_zeros_is_empty():
    frame = SPARSE.values(sparse_outputs([[0, 0]], [[0.0, 0.0]]))
    assert frame.select("indices", "values").row(0) == ([], [])


def test_sparse_columns_have_the_types_of_the_table():
    frame = SPARSE.values(sparse_outputs([[1]], [[1.0]]))
    assert frame.schema == {name: SCHEMAS["sparse_embeddings"][name] for name in ("indices", "values", "source")}
    assert frame.schema["indices"] == pl.List(pl.Int32)


def test_a_negative_weight_is_refused():
    with pytest.raises(InferenceError, match=r"model 's'.*-0\.5000"):
        SPARSE.values(sparse_outputs([[1, 2]], [[1.0, -0.5]]))
