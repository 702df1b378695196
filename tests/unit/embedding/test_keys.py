"""How rows name a model."""

from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.retrieval.fusion import RetrievalModels


def test_models_read_as_plain_tuples_in_digests():
    dense, sparse = ModelVersion("a", "1"), ModelVersion("b", "2")
    assert str(dense) == f"{dense}" == str(("a", "1"))
    assert str(RetrievalModels((dense,), sparse)) == str(RetrievalModels((("a", "1"),), ("b", "2")))
