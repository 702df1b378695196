import getpass
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main
from embedder_assets.errors import TableError
from embedder_assets.evaluation.baseline import accept
from embedder_assets.evaluation.results import latest_result, next_sequence
from tests.support.corpora.judged import GOOD, MODELS, WORSE, evaluate, judged_pipeline, rank
from tests.support.factories import make_documents


@pytest.fixture
def pipeline(tmp_path):
    pipeline = judged_pipeline(tmp_path, enable_sparse=False)
    rank(pipeline, "1", fused=GOOD, reranked=WORSE)
    return pipeline


@pytest.fixture
def baseline(pipeline, monkeypatch):
    """Runs ``embedder baseline …`` on the home of the pipeline."""
    monkeypatch.setenv("EMBEDDER_HOME", str(pipeline.settings.home))
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(pipeline.settings.corpus_dir))
    monkeypatch.setenv("EMBEDDER_ENABLE_SPARSE", "false")
    return lambda *arguments: CliRunner().invoke(main, ["baseline", *arguments])


def test_accept_takes_the_newest_evaluation_whole(pipeline, baseline):
    evaluate(pipeline)
    rank(pipeline, "2", reranked=GOOD)
    newest = evaluate(pipeline, models={**MODELS, "rerank": {"other": "rerank-2"}})
    assert baseline("accept", "--note", "a better reranker").exit_code == 0
    counts = latest_result(pipeline.store, "quality_baselines", "kb")
    assert counts.values == newest.values
    assert (counts.models, counts.input_digest, counts.queries) == (newest.models, newest.input_digest, 2)
    rows = pipeline.store.read("quality_baselines", "kb")
    assert set(rows["accepted_by"]) == {getpass.getuser()}
    assert set(rows["note"]) == {"a better reranker"}


def test_accept_shows_previous_values(pipeline, baseline):
    evaluate(pipeline)
    first = baseline("accept", "--collection", "kb", "--by", "ana")
    assert "0.7587" in first.output
    assert "was" not in first.output
    assert "by ana" in first.output
    rank(pipeline, "2", reranked=GOOD)
    evaluate(pipeline)
    second = baseline("accept", "--collection", "kb", "--by", "bo")
    assert "1.0000 (was 0.7587)" in " ".join(second.output.split())
    assert "by bo" in second.output


def test_the_history_stays_and_the_newest_counts(pipeline, baseline):
    for digest, order, name in [("1", WORSE, "ana"), ("2", GOOD, "bo")]:
        rank(pipeline, digest, reranked=order)
        evaluate(pipeline)
        baseline("accept", "--by", name)
    assert set(pipeline.store.read("quality_baselines", "kb")["accepted_by"]) == {"ana", "bo"}
    assert latest_result(pipeline.store, "quality_baselines", "kb").ndcg("reranked") == pytest.approx(1)
    shown = baseline("show").output
    assert "by bo" in shown
    assert "ana" not in shown
    assert "dense_minilm dense-1" in shown


def test_concurrent_accepts_take_different_sequences(pipeline, monkeypatch):
    evaluate(pipeline)
    both_have_read = threading.Barrier(2)

    def read_and_wait(*arguments):
        sequence = next_sequence(*arguments)
        with suppress(threading.BrokenBarrierError):  # nobody comes while the other one waits for the lock
            both_have_read.wait(timeout=0.5)
        return sequence

    def accept_as(name):
        return accept(pipeline.store, pipeline.settings, ["kb"], accepted_by=name, note="")

    monkeypatch.setattr("embedder_assets.evaluation.baseline.next_sequence", read_and_wait)
    with ThreadPoolExecutor(2) as operators:
        accepted = [each.accepted_by for (each,) in operators.map(accept_as, ["ana", "bo"])]
    rows = pipeline.store.read("quality_baselines", "kb", ["accepted_by", "sequence"]).unique()
    assert accepted == ["ana", "bo"]
    assert sorted(rows["accepted_by"]) == ["ana", "bo"]
    assert sorted(rows["sequence"]) == [1, 2]


def test_show_without_a_baseline_names_the_command(baseline):
    result = baseline("show")
    assert result.exit_code == 0
    assert "embedder baseline accept" in result.output


def test_accept_before_any_evaluation_says_run_first(baseline):
    result = baseline("accept")
    assert result.exit_code == 1
    assert "Run `embedder run` first" in result.output


def test_a_collection_that_was_not_evaluated_says_so(baseline):
    result = baseline("accept", "--collection", "kb")
    assert result.exit_code == 1
    assert "Run `embedder run --collection kb` first" in result.output


def test_unknown_collection_suggests_nearest_name(pipeline, baseline):
    pipeline.store.replace("documents", "handbook", make_documents("handbook", a="A"))
    evaluate(pipeline)
    result = baseline("accept", "--collection", "kb", "--collection", "handbok")
    assert result.exit_code == 1
    assert "Did you mean 'handbook'?" in result.output
    assert not pipeline.store.exists("quality_baselines")


def test_missing_judgements_say_how_to_add_them(tmp_path):
    pipeline = judged_pipeline(tmp_path, "q0\ta.md\t0\n")
    with pytest.raises(TableError, match=r"judged queries: queries\.jsonl, and qrels\.tsv"):
        accept(pipeline.store, pipeline.settings, ["kb"], accepted_by="ana", note="")


def test_lost_judgements_are_not_accepted(pipeline, baseline, tmp_path):
    evaluate(pipeline)
    assert baseline("accept").exit_code == 0
    (tmp_path / "corpus" / "kb" / "qrels.tsv").unlink()
    result = baseline("accept", "--note", "accepts what?")
    assert result.exit_code == 1
    assert "judged queries" in result.output
    assert "`embedder baseline drop --collection kb`" in " ".join(result.output.split())
    assert pipeline.store.read("quality_baselines", "kb")["sequence"].max() == 1


def test_an_evaluation_of_other_tables_is_not_accepted(pipeline, baseline):
    evaluate(pipeline)
    rank(pipeline, "edited", reranked=GOOD)
    result = baseline("accept")
    assert result.exit_code == 1
    assert "Run `embedder run`" in result.output
    assert not pipeline.store.exists("quality_baselines")


def test_drop_gives_up_what_counts_after_a_question(pipeline, baseline):
    evaluate(pipeline)
    baseline("accept", "--by", "ana")
    refused = baseline("drop", "--collection", "kb")
    assert refused.exit_code == 1
    assert "Give up the baseline of 'kb'?" in refused.output
    assert latest_result(pipeline.store, "quality_baselines", "kb") is not None
    dropped = baseline("drop", "--collection", "kb", "--yes")
    assert dropped.exit_code == 0
    assert "by ana" in dropped.output
    assert latest_result(pipeline.store, "quality_baselines", "kb") is None
    assert baseline("accept").exit_code == 0


def test_drop_lists_collections_with_a_baseline(pipeline, baseline):
    evaluate(pipeline)
    baseline("accept")
    result = baseline("drop", "--collection", "kb", "--collection", "other", "--yes")
    assert result.exit_code == 1
    assert "the baseline of collection 'other': expected a collection with a baseline: kb, got none" in " ".join(
        result.output.split()
    )
    assert latest_result(pipeline.store, "quality_baselines", "kb") is not None
