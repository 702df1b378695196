import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.dense import DenseEncoder, as_matrix
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.errors import InferenceError
from embedder_assets.tables.schemas import SCHEMAS

DENSE, SPARSE = DenseEncoder("d", "f"), SparseEncoder("s", "f")


def sparse_outputs(indices, values) -> dict[str, np.ndarray]:
    return {"indices": np.array(indices, np.int32), "values": np.array(values, np.float32)}


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
