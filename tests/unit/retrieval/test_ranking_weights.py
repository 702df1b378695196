import pytest

from embedder_assets.retrieval.ranking_weights import LearnedWeights, mean_weights, read_weights, write_weights
from embedder_assets.tables.store import TableStore

LEARNED = LearnedWeights({"dense": 0.7}, [{"dense": 0.6 + fold / 10} for fold in range(5)], 25, 0.51, 0.55)


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


def test_weights_survive_the_table(store):
    other = LearnedWeights(
        {"cross_encoder": 0.2, "agreement": 0.1}, [{"cross_encoder": 0.3, "agreement": 0.0}] * 5, 9, 0, 0
    )
    write_weights(store, "kb", "fuse", LEARNED)
    write_weights(store, "kb", "rerank", other)
    assert read_weights(store, "kb", "fuse") == LEARNED
    assert read_weights(store, "kb", "rerank") == other
    assert read_weights(store, "other", "fuse") is None


def test_nothing_learned_removes_the_rows(store):
    write_weights(store, "kb", "fuse", LEARNED)
    write_weights(store, "kb", "fuse", None)
    assert read_weights(store, "kb", "fuse") is None


def test_same_weights_are_not_written_again(store):
    write_weights(store, "kb", "fuse", LEARNED)
    version = store.version("ranking_weights")
    write_weights(store, "kb", "fuse", LEARNED)
    write_weights(store, "unknown", "fuse", None)
    assert store.version("ranking_weights") == version


def test_search_over_collections_takes_the_mean(store):
    write_weights(store, "kb", "fuse", LEARNED)
    assert mean_weights(store, ["kb", "new"], "fuse", {"dense": 0.8}) == {"dense": pytest.approx(0.75)}
    assert mean_weights(store, ["new"], "fuse", {"dense": 0.8}) == {"dense": 0.8}


def test_description_says_where_weights_are_from():
    assert LEARNED.described() == "learned from 25 judged queries, nDCG@10 +0.0400 out of fold"
    assert LearnedWeights({}, [], 25, 0.5, 0.5).described().startswith("default: 25 judged queries gave no evidence")
