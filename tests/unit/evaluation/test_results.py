import math
from datetime import datetime, timedelta

import polars as pl
import pytest

from embedder_assets.checks import quality
from embedder_assets.checks.retrieval import QUALITY_RULES
from embedder_assets.checks.verdict import Note, Worry
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.errors import QualityError
from embedder_assets.evaluation.baseline import accept, drop
from embedder_assets.evaluation.export_gate import refuse_below_baseline
from embedder_assets.evaluation.model_gate import ModelGate
from embedder_assets.evaluation.results import newest_figures
from tests.support.factories import FakeTriton, make_meter
from tests.support.judged import GOOD, MODELS, WORSE, evaluate, judged_pipeline, rank, write_qrels

# What q0 loses from GOOD to WORSE, halved by the perfect q1.
WORSE_NDCG = ((1 / math.log2(4) + 2 / math.log2(5)) / (2 + 1 / math.log2(3)) + 1) / 2
FALL = 1 - WORSE_NDCG


@pytest.fixture
def make(tmp_path):
    """A pipeline with the fused order GOOD."""

    def make(**settings):
        pipeline = judged_pipeline(tmp_path, enable_sparse=False, **settings)
        rank(pipeline, "1", fused=GOOD)
        return pipeline

    return make


def accepted(pipeline, order=GOOD, **models) -> None:
    """Accepts an evaluation with a reranked order."""
    rank(pipeline, "accepted", reranked=order)
    evaluate(pipeline, models={**MODELS, **models})
    accept(pipeline.store, pipeline.settings, ["kb"], accepted_by="ana", note="")


def reranked(pipeline, order) -> None:
    """Reranks and evaluates."""
    rank(pipeline, "new", reranked=order)
    evaluate(pipeline)


@pytest.mark.parametrize("rule", QUALITY_RULES)
def test_every_rule_says_what_must_hold(rule):
    assert rule.__doc__.endswith(".")


@pytest.mark.parametrize("rule", QUALITY_RULES)
def test_without_judgements_a_rule_passes_and_says_so(tmp_path, rule):
    pipeline = judged_pipeline(tmp_path, "")
    verdict = rule(pipeline, "kb")
    assert isinstance(verdict, Note)
    assert "no judged queries" in verdict


@pytest.mark.parametrize("rule", QUALITY_RULES)
def test_tables_that_were_not_evaluated_fail(make, rule):
    verdict = rule(make(), "kb")
    assert not isinstance(verdict, Note)
    assert "materialize the asset `evaluation`" in verdict


# reranked_not_below_fused


@pytest.mark.parametrize(("tolerance", "fails"), [(FALL + 0.001, False), (FALL, False), (FALL - 0.001, True)])
def test_reranked_may_be_below_fused_by_the_tolerance(make, tolerance, fails):
    pipeline = make(quality_tolerance=tolerance)
    reranked(pipeline, WORSE)
    assert (quality.reranked_not_below_fused(pipeline, "kb") is not None) == fails


def test_a_fall_below_fused_names_what_a_person_needs(make):
    pipeline = make()
    reranked(pipeline, WORSE)
    verdict = quality.reranked_not_below_fused(pipeline, "kb")
    assert f"reranked nDCG@10 is {WORSE_NDCG:.4f} over 2 judged queries, the fused ranking has 1.0000" in verdict
    assert "EMBEDDER_QUALITY_TOLERANCE allows 0.02 less" in verdict
    assert f"Queries that lost most: q0 (1.000 to {2 * WORSE_NDCG - 1:.3f})." in verdict
    assert "dense_minilm dense-1, rerank_cross_encoder rerank-1" in verdict
    assert "[score]" in verdict


def test_with_rerank_off_there_is_nothing_to_hold_against_fused(make):
    pipeline = make(enable_rerank=False)
    evaluate(pipeline)
    verdict = quality.reranked_not_below_fused(pipeline, "kb")
    assert isinstance(verdict, Note)
    assert "off" in verdict


def fallen_back(pipeline, order=GOOD) -> None:
    """Evaluates a collection whose rerank model failed: the fused order stands."""
    rank(pipeline, "fallback", reranked=order)
    rows = pipeline.store.read("reranked_candidates", "kb").with_columns(fallback_used=pl.lit(value=True))
    pipeline.store.replace("reranked_candidates", "kb", rows)
    evaluate(pipeline)


def test_where_the_rerank_model_failed_the_rule_passes_and_says_nothing_of_it(make):
    pipeline = make()
    fallen_back(pipeline)
    verdict = quality.reranked_not_below_fused(pipeline, "kb")
    assert isinstance(verdict, Note)
    assert "the rerank model failed and the fused order stands in its place" in verdict


# quality_not_below_baseline


def test_where_the_rerank_model_failed_fused_is_held_against_fused(make):
    pipeline = make()
    rank(pipeline, "2", fused=WORSE)
    accepted(pipeline, GOOD)
    fallen_back(pipeline, WORSE)
    assert quality.quality_not_below_baseline(pipeline, "kb") is None


def test_without_a_baseline_the_rule_passes_and_names_the_command(make):
    pipeline = make()
    reranked(pipeline, WORSE)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert isinstance(verdict, Note)
    assert "`embedder baseline accept --collection kb`" in verdict


@pytest.mark.parametrize(("tolerance", "fails"), [(FALL + 0.001, False), (FALL, False), (FALL - 0.001, True)])
def test_the_final_order_may_be_below_the_baseline_by_the_tolerance(make, tolerance, fails):
    pipeline = make(quality_tolerance=tolerance)
    accepted(pipeline)
    reranked(pipeline, WORSE)
    assert (quality.quality_not_below_baseline(pipeline, "kb") is not None) == fails


def test_a_rise_above_the_baseline_passes(make):
    pipeline = make()
    accepted(pipeline, WORSE)
    reranked(pipeline, GOOD)
    assert quality.quality_not_below_baseline(pipeline, "kb") is None


def test_accepting_the_fall_opens_the_gate(make):
    pipeline = make()
    accepted(pipeline)
    reranked(pipeline, WORSE)
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="smaller model on purpose")
    assert quality.quality_not_below_baseline(pipeline, "kb") is None


def test_a_fall_below_the_baseline_names_what_a_person_needs(make):
    pipeline = make()
    accepted(pipeline, rerank={"rerank_cross_encoder": "rerank-0"})
    reranked(pipeline, WORSE)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert f"reranked nDCG@10 is {WORSE_NDCG:.4f} over 2 judged queries, the baseline accepted on 20" in verdict
    assert "has 1.0000, and EMBEDDER_QUALITY_TOLERANCE allows 0.02 less" in verdict
    assert f"Queries that lost most: q0 (1.000 to {2 * WORSE_NDCG - 1:.3f})." in verdict
    assert "Models now: dense_minilm dense-1, rerank_cross_encoder rerank-1; " in verdict
    assert "of the baseline: dense_minilm dense-1, rerank_cross_encoder rerank-0." in verdict
    assert "embedder models compare" in verdict
    assert "`embedder baseline accept --collection kb`" in verdict
    assert "judgements are not those of then" not in verdict


def test_a_fall_with_the_same_models_says_that_something_else_differs(make):
    pipeline = make()
    accepted(pipeline)
    reranked(pipeline, WORSE)
    assert "the same, so a setting, the documents or the judgements differ" in quality.quality_not_below_baseline(
        pipeline, "kb"
    )


def test_changed_judgements_are_told(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    write_qrels(tmp_path, "q0\td.md\t1\n")
    reranked(pipeline, GOOD)
    assert "The judgements are not those of then." in quality.quality_not_below_baseline(pipeline, "kb")


def test_with_rerank_off_the_fused_order_is_held_against_the_fused_baseline(make, tmp_path):
    pipeline = make()
    accepted(pipeline, WORSE)
    pipeline.settings = pipeline.settings.model_copy(update={"enable_rerank": False})
    evaluate(pipeline)
    assert quality.quality_not_below_baseline(pipeline, "kb") is None
    rank(pipeline, "2", fused=WORSE)
    evaluate(pipeline)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert verdict.startswith(f"fused nDCG@10 is {WORSE_NDCG:.4f}")
    assert "has 1.0000" in verdict


def test_a_baseline_without_reranking_is_held_by_its_final_order(make):
    pipeline = make(enable_rerank=False)
    evaluate(pipeline)
    accept(pipeline.store, pipeline.settings, ["kb"], accepted_by="ana", note="")
    pipeline.settings = pipeline.settings.model_copy(update={"enable_rerank": True})
    reranked(pipeline, WORSE)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert "reranked nDCG@10 is" in verdict
    assert "has (fused) 1.0000" in verdict


# While a baseline counts, what cannot be measured is not exported


HEAD = "query-id\tcorpus-id\tscore\n"
# None: the file is removed.
LOST = {
    "qrels.tsv is gone": None,
    "qrels.tsv is empty": HEAD,
    "every grade is 0": f"{HEAD}q0\ta.md\t0\n",
    "the judgements are of other queries": f"{HEAD}else\ta.md\t1\n",
}


@pytest.mark.parametrize("content", [*LOST.values(), "no query is left"], ids=[*LOST, "no query is left"])
def test_lost_judgements_keep_the_exports_back_while_a_baseline_counts(make, tmp_path, content):
    pipeline = make()
    accepted(pipeline)
    qrels = tmp_path / "corpus" / "kb" / "qrels.tsv"
    if content is None:
        qrels.unlink()
    elif content in LOST.values():
        qrels.write_text(content)
    else:
        pipeline.store.overwrite("queries", "kb", [])
    evaluate(pipeline)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert not isinstance(verdict, Note | Worry)
    assert "over 2 judged queries, and now no judged query is left" in verdict
    assert "Bring back queries.jsonl and qrels.tsv" in verdict
    assert "`embedder baseline drop --collection kb`" in verdict
    with pytest.raises(QualityError, match="no judged query is left"):
        refuse_below_baseline(pipeline.store, pipeline.settings, "kb")
    drop(pipeline.store, ["kb"])
    assert isinstance(quality.quality_not_below_baseline(pipeline, "kb"), Note)
    refuse_below_baseline(pipeline.store, pipeline.settings, "kb")


def test_a_new_model_is_refused_while_judgements_are_lost(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    (tmp_path / "corpus" / "kb" / "qrels.tsv").unlink()
    gate = ModelGate(pipeline.store, FakeTriton(), pipeline.settings, DenseEncoder("dense_minilm", "new"), make_meter())
    with pytest.raises(QualityError, match=r"judged queries.*baseline drop --collection kb"):
        gate("kb", [])
    drop(pipeline.store, ["kb"])
    gate("kb", [])
    # Nobody asks for judgements that nothing is held against.
    (tmp_path / "corpus" / "kb" / "qrels.tsv").write_text("no header\n")
    gate("kb", [])


def test_judgements_that_cannot_be_read_keep_the_exports_back(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    (tmp_path / "corpus" / "kb" / "qrels.tsv").write_text("no header\n")
    assert "qrels.tsv" in quality.quality_not_below_baseline(pipeline, "kb")
    with pytest.raises(QualityError, match=r"qrels\.tsv"):
        refuse_below_baseline(pipeline.store, pipeline.settings, "kb")


def test_tables_that_were_not_evaluated_keep_the_exports_back(make):
    pipeline = make()
    accepted(pipeline)
    rank(pipeline, "edited", reranked=WORSE)
    with pytest.raises(QualityError, match="materialize the asset `evaluation`"):
        refuse_below_baseline(pipeline.store, pipeline.settings, "kb")


def test_fewer_judged_queries_than_the_baseline_has_are_a_warning(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    write_qrels(tmp_path, "q1\tc.md\t1\n")
    evaluate(pipeline)
    verdict = quality.quality_not_below_baseline(pipeline, "kb")
    assert isinstance(verdict, Worry)
    assert "1 judged queries are left of the 2 of the baseline" in verdict
    refuse_below_baseline(pipeline.store, pipeline.settings, "kb")
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="fewer on purpose")
    assert quality.quality_not_below_baseline(pipeline, "kb") is None


# The newest is the last one that was written, whatever the clock says


class Clock(datetime):
    """A clock that can be set."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock of evaluations and baselines to some days from now."""
    for module in ("evaluate", "baseline"):
        monkeypatch.setattr(f"embedder_assets.evaluation.{module}.datetime", Clock)
    return lambda days: monkeypatch.setattr(Clock, "ahead", timedelta(days=days))


def test_an_evaluation_with_a_wrong_clock_hides_no_later_one(make, clock):
    pipeline = make(quality_tolerance=1)
    for number, days in enumerate([0, 10, 0, -30, 0]):
        clock(days)
        rank(pipeline, f"edit {number}", reranked=GOOD if number % 2 else WORSE)
        now = evaluate(pipeline)
        assert now is not None
        assert quality.quality_not_below_baseline(pipeline, "kb").startswith("no baseline is accepted")
        assert newest_figures(pipeline.store, "evaluation", "kb") == now
        assert now.ndcg("reranked") == pytest.approx(1 if number % 2 else WORSE_NDCG)


def test_the_last_baseline_counts_whatever_the_clock_said(make, clock):
    pipeline = make()
    clock(10)
    accepted(pipeline)
    clock(0)
    reranked(pipeline, WORSE)
    assert quality.quality_not_below_baseline(pipeline, "kb") is not None
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="on purpose")
    assert quality.quality_not_below_baseline(pipeline, "kb") is None


def test_rows_from_before_there_was_a_sequence_are_older(make, clock):
    pipeline = make(quality_tolerance=1)
    clock(10)
    reranked(pipeline, WORSE)
    old = pipeline.store.read("evaluation", "kb").with_columns(sequence=pl.lit(None, pl.Int64))
    pipeline.store.overwrite("evaluation", "kb", old)
    clock(0)
    rank(pipeline, "edit", reranked=GOOD)
    now = evaluate(pipeline)
    assert newest_figures(pipeline.store, "evaluation", "kb") == now
    assert now.ndcg("reranked") == pytest.approx(1)
