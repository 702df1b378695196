"""What ``embedder weights show`` prints."""

import json

import pytest
from click.testing import CliRunner, Result

from embedder_assets.cli.main import main
from embedder_assets.retrieval.ranking_weights import LearnedWeights, write_weights
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_documents

LEARNED = LearnedWeights({"dense": 0.7}, [{"dense": 0.7}] * 5, 25, 0.51, 0.55)


@pytest.fixture
def store(tmp_path, monkeypatch) -> TableStore:
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "corpus"))
    return TableStore(tmp_path)


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["weights", "show", *arguments])


def rows_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if line[:1] == "│"]


def test_each_stage_of_a_collection_is_a_line(store):
    store.replace("documents", "kb", make_documents(a="A"))
    write_weights(store, "kb", "fuse", LEARNED)
    fuse, rerank = rows_of(show().stdout)
    source = "learned from 25 judged queries, nDCG@10 +0.0400 out of fold"
    assert fuse == ["kb", "fuse", "0.5100", "0.5500", "dense 0.700", source]
    assert [*rerank[:4], rerank[5]] == ["kb", "rerank", "-", "-", "default: no judged queries"]


def test_json_has_the_same(store):
    store.replace("documents", "kb", make_documents(a="A"))
    write_weights(store, "kb", "fuse", LEARNED)
    fuse, rerank = json.loads(show("--json").stdout)
    assert (fuse["weights"], fuse["judged_queries"], fuse["learned_ndcg"]) == ({"dense": 0.7}, 25, 0.55)
    assert (rerank["stage"], rerank["default_ndcg"]) == ("rerank", None)


def test_empty_home_says_what_fills_it(store):
    assert show().stdout.startswith("no collection has been materialized yet; `embedder run`")
    assert json.loads(show("--json").stdout) == []


def test_unknown_collection_is_an_error(store):
    store.replace("documents", "animals", make_documents("animals", a="A"))
    result = show("--collection", "animal")
    assert result.exit_code == 1
    assert "Did you mean 'animals'?" in result.output


def test_no_server_is_started(store, tmp_path):
    store.replace("documents", "kb", make_documents(a="A"))
    before = set(tmp_path.iterdir())
    assert show().exit_code == 0
    # A server of this home would have made its folder there.
    assert set(tmp_path.iterdir()) == before
