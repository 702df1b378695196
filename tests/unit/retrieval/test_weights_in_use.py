import json

import pytest

from embedder_assets.errors import ModelBuildError, TableError
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.ranking_weights import LearnedWeights, write_weights
from embedder_assets.retrieval.weights_in_use import stage_weights, weights_in_use, weights_of_collections
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_documents, make_queries, make_settings

FUSE = LearnedWeights({"dense": 0.7}, [{"dense": 0.7}] * 5, 25, 0.51, 0.55)
FORMULA = {"cross_encoder": 0.3, "agreement": 0.1, "temperature": 0.5, "standardize": 0.0}
RERANK = LearnedWeights(FORMULA, [FORMULA] * 5, 25, 0.6, 0.62)


@pytest.fixture
def store(tmp_path) -> TableStore:
    store = TableStore(tmp_path / "home")
    for name in ("kb", "other"):
        store.replace("documents", name, make_documents(name, a="A"))
    return store


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "corpus" / "kb").mkdir(parents=True)
    return lambda **values: make_settings(tmp_path / "home", "env:X", corpus_dir=tmp_path / "corpus", **values)


def judge(tmp_path, store: TableStore, queries: int) -> None:
    folder = tmp_path / "corpus" / "kb"
    lines = [json.dumps({"_id": f"q{number}", "text": f"query {number}"}) for number in range(queries)]
    (folder / "queries.jsonl").write_text("\n".join(lines), "utf-8")
    rows = "".join(f"q{number}\ta.md\t1\n" for number in range(queries))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", "utf-8")
    store.replace("queries", "kb", make_queries(*(f"query {number}" for number in range(queries))))


def test_learned_weights_come_with_evidence(store, settings):
    write_weights(store, "kb", "fuse", FUSE)
    write_weights(store, "kb", "rerank", RERANK)
    fuse, rerank = weights_in_use(store, settings(), "kb")
    assert (fuse.weights, fuse.judged_queries, fuse.default_ndcg, fuse.learned_ndcg) == ({"dense": 0.7}, 25, 0.51, 0.55)
    assert fuse.source == "learned from 25 judged queries, nDCG@10 +0.0400 out of fold"
    assert rerank.weights == {"cross_encoder": 0.3, "agreement": 0.1}
    assert (rerank.stage, rerank.source) == ("rerank", RERANK.described())


@pytest.mark.parametrize(
    ("queries", "source"),
    [
        (0, "default: no judged queries"),
        (1, "default: 1 judged query, 10 are needed"),
        (4, "default: 4 judged queries, 10 are needed"),
        (10, "default: the next run learns from 10 judged queries"),
    ],
)
def test_default_says_how_many_queries_are_judged(store, settings, tmp_path, queries, source):
    if queries:
        judge(tmp_path, store, queries)
    fuse, rerank = weights_in_use(store, settings(), "kb")
    assert (fuse.weights, fuse.source, fuse.judged_queries) == ({"dense": DENSE_WEIGHT}, source, queries)
    assert (rerank.source, rerank.default_ndcg, rerank.learned_ndcg) == (source, None, None)


def test_default_rerank_weights_are_the_model_s(store, settings, tmp_path):
    (description,) = settings().model_repository.glob("rerank_cross_encoder/model.toml")
    repository = tmp_path / "repository" / "rerank_cross_encoder"
    repository.mkdir(parents=True)
    head, rest = description.read_text("utf-8").split("[score]")
    source = rest[rest.index("[source]") :] if "[source]" in rest else ""
    changed = f"{head}[score]\ncross_encoder = 0.7\nagreement = 0.2\n\n{source}"
    (repository / "model.toml").write_text(changed, "utf-8")
    found = stage_weights(store, settings(model_repository=repository.parent), "kb", "rerank")
    assert found.weights == {"cross_encoder": 0.7, "agreement": 0.2}


@pytest.mark.parametrize(
    ("values", "stage", "source"),
    [
        ({"fusion": "rrf"}, "fuse", "not used: fusion is rrf via env:X"),
        ({"enable_sparse": False}, "fuse", "not used: sparse is disabled via env:X"),
        ({"enable_rerank": False}, "rerank", "not used: rerank is disabled via env:X"),
    ],
)
def test_setting_that_leaves_weights_unused_is_named(store, settings, values, stage, source):
    write_weights(store, "kb", stage, FUSE if stage == "fuse" else RERANK)
    found = stage_weights(store, settings(**values), "kb", stage)
    assert (found.weights, found.source, found.learned_ndcg) == ({}, source, None)


def test_no_rerank_needs_no_model_description(store, settings, tmp_path):
    nowhere = {"model_repository": tmp_path / "nowhere"}
    assert not weights_in_use(store, settings(enable_rerank=False, **nowhere), "kb")[1].weights
    with pytest.raises(ModelBuildError, match=r"rerank_cross_encoder/model\.toml"):
        weights_in_use(store, settings(**nowhere), "kb")


def test_all_collections_or_those_named(store, settings):
    def of(*names: str) -> list[str]:
        return [each.collection for each in weights_of_collections(store, settings(), names)]

    assert of() == ["kb", "kb", "other", "other"]
    assert of("other") == ["other", "other"]


def test_unknown_collection_gets_the_nearest_name(store, settings):
    with pytest.raises(TableError, match=r"'othr': expected one of: kb, other, .* Did you mean 'other'\?"):
        weights_of_collections(store, settings(), ["othr"])
