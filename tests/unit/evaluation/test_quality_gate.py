import math
from datetime import datetime, timedelta

import polars as pl
import pytest

from embedder_assets.checks import quality_gate
from embedder_assets.checks.data import QUALITY_RULES
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.errors import QualityError
from embedder_assets.evaluation.baseline import accept, drop
from embedder_assets.evaluation.model_gate import ModelGate
from embedder_assets.evaluation.quality_gate import enforce_quality_gate
from embedder_assets.evaluation.results import latest_result
from tests.support.corpora.judged import GOOD, MODELS, WORSE, evaluate, judged_pipeline, rank, write_qrels
from tests.support.factories import FakeTriton, make_meter

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
def test_rules_pass_without_judgements(tmp_path, rule):
    pipeline = judged_pipeline(tmp_path, "")
    found = rule(pipeline, "kb")
    assert found.level == "note"
    assert "no judged queries" in found.text


@pytest.mark.parametrize("rule", QUALITY_RULES)
def test_tables_that_were_not_evaluated_fail(make, rule):
    found = rule(make(), "kb")
    assert found.level == "error"
    assert "materialize the asset `evaluation`" in found.text


# final_not_below_best_part


@pytest.mark.parametrize(("tolerance", "fails"), [(FALL + 0.001, False), (FALL, False), (FALL - 0.001, True)])
def test_final_may_be_below_best_part_by_the_tolerance(make, tolerance, fails):
    pipeline = make(quality_tolerance=tolerance)
    reranked(pipeline, WORSE)
    assert (quality_gate.final_not_below_best_part(pipeline, "kb") is not None) == fails


def test_fall_below_a_part_is_explained(make):
    pipeline = make()
    reranked(pipeline, WORSE)
    found = quality_gate.final_not_below_best_part(pipeline, "kb")
    assert (
        f"reranked nDCG@10 is {WORSE_NDCG:.4f} over 2 judged queries, the dense ranking alone has 1.0000" in found.text
    )
    assert "EMBEDDER_QUALITY_TOLERANCE allows 0.02 less" in found.text
    assert f"Queries that lost most: q0 (1.000 to {2 * WORSE_NDCG - 1:.3f})." in found.text
    assert "dense_minilm dense-1, rerank_cross_encoder rerank-1" in found.text
    assert "EMBEDDER_ENABLE_RERANK=false" in found.text


@pytest.mark.parametrize("strict", [False, True])
def test_fall_below_a_part_warns_or_fails_as_set(make, strict):
    pipeline = make(quality_strict=strict)
    reranked(pipeline, WORSE)
    found = quality_gate.final_not_below_best_part(pipeline, "kb")
    assert found.level == ("error" if strict else "warning")
    assert ("The exports stay as they were." in found.text) == strict


@pytest.mark.parametrize("part", ["dense", "sparse", "fused"])
def test_best_part_decides_the_remedy(tmp_path, part):
    pipeline = judged_pipeline(tmp_path)
    rank(pipeline, "1", fused=GOOD if part == "fused" else WORSE, reranked=WORSE)
    rows = pipeline.store.read("fused_candidates", "kb")
    ranks = {name: pl.lit(None, pl.Int64) for name in ("dense_rank", "sparse_rank")}
    if part != "fused":
        ideal = [
            list(GOOD[query]).index(document[0]) + 1 for query, document in rows.select("query_id", "doc_id").rows()
        ]
        ranks[f"{part}_rank"] = pl.Series(ideal)
    pipeline.store.replace("fused_candidates", "kb", rows.with_columns(**ranks))
    evaluate(pipeline)
    found = quality_gate.final_not_below_best_part(pipeline, "kb")
    assert f"the {part} ranking alone has 1.0000" in found.text
    setting = {"dense": "ENABLE_SPARSE=false", "sparse": "EMBEDDER_DENSE_MODELS", "fused": "ENABLE_RERANK=false"}[part]
    assert setting in found.text


def test_without_rerank_the_fused_ranking_is_held_against_dense(tmp_path):
    pipeline = judged_pipeline(tmp_path, enable_rerank=False)
    rank(pipeline, "1", fused=WORSE)
    rows = pipeline.store.read("fused_candidates", "kb")
    ideal = [list(GOOD[query]).index(document[0]) + 1 for query, document in rows.select("query_id", "doc_id").rows()]
    pipeline.store.replace("fused_candidates", "kb", rows.with_columns(dense_rank=pl.Series(ideal)))
    evaluate(pipeline)
    found = quality_gate.final_not_below_best_part(pipeline, "kb")
    assert found.level == "warning"
    assert f"fused nDCG@10 is {WORSE_NDCG:.4f} over 2 judged queries, the dense ranking alone has 1.0000" in found.text


def fallen_back(pipeline, order=GOOD) -> None:
    """Evaluates a collection whose rerank model failed: the fused order stands."""
    rank(pipeline, "fallback", reranked=order)
    rows = pipeline.store.read("reranked_candidates", "kb").with_columns(fallback_used=pl.lit(value=True))
    pipeline.store.replace("reranked_candidates", "kb", rows)
    evaluate(pipeline)


def test_rerank_fallback_is_no_ranking_of_its_own(make):
    pipeline = make()
    fallen_back(pipeline, WORSE)
    assert quality_gate.final_not_below_best_part(pipeline, "kb") is None


# quality_not_below_baseline


def test_rerank_fallback_compares_fused_rankings(make):
    pipeline = make()
    rank(pipeline, "2", fused=WORSE)
    accepted(pipeline, GOOD)
    fallen_back(pipeline, WORSE)
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None


def test_no_baseline_passes_and_names_command(make):
    pipeline = make()
    reranked(pipeline, WORSE)
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert found.level == "note"
    assert "`embedder baseline accept --collection kb`" in found.text


@pytest.mark.parametrize(("tolerance", "fails"), [(FALL + 0.001, False), (FALL, False), (FALL - 0.001, True)])
def test_baseline_tolerance_is_respected(make, tolerance, fails):
    pipeline = make(quality_tolerance=tolerance)
    accepted(pipeline)
    reranked(pipeline, WORSE)
    assert (quality_gate.quality_not_below_baseline(pipeline, "kb") is not None) == fails


def test_a_rise_above_the_baseline_passes(make):
    pipeline = make()
    accepted(pipeline, WORSE)
    reranked(pipeline, GOOD)
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None


def test_accepting_a_regression_opens_the_gate(make):
    pipeline = make()
    accepted(pipeline)
    reranked(pipeline, WORSE)
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="smaller model on purpose")
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None


def test_regression_below_baseline_is_explained(make):
    pipeline = make()
    accepted(pipeline, rerank={"rerank_cross_encoder": "rerank-0"})
    reranked(pipeline, WORSE)
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert f"reranked nDCG@10 is {WORSE_NDCG:.4f} over 2 judged queries, the baseline accepted on 20" in found.text
    assert "has 1.0000, and EMBEDDER_QUALITY_TOLERANCE allows 0.02 less" in found.text
    assert f"Queries that lost most: q0 (1.000 to {2 * WORSE_NDCG - 1:.3f})." in found.text
    assert "Models now: dense_minilm dense-1, rerank_cross_encoder rerank-1; " in found.text
    assert "of the baseline: dense_minilm dense-1, rerank_cross_encoder rerank-0." in found.text
    assert "embedder models compare" in found.text
    assert "`embedder baseline accept --collection kb`" in found.text
    assert "judgements have changed since" not in found.text


def test_regression_with_same_models_is_explained(make):
    pipeline = make()
    accepted(pipeline)
    reranked(pipeline, WORSE)
    assert (
        "the same, so a setting, the documents or the judgements differ"
        in quality_gate.quality_not_below_baseline(pipeline, "kb").text
    )


def test_changed_judgements_are_reported(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    write_qrels(tmp_path, "q0\td.md\t1\n")
    reranked(pipeline, GOOD)
    assert "The judgements have changed since." in quality_gate.quality_not_below_baseline(pipeline, "kb").text


def test_disabled_rerank_compares_fused_rankings(make, tmp_path):
    pipeline = make()
    accepted(pipeline, WORSE)
    pipeline.settings = pipeline.settings.model_copy(update={"enable_rerank": False})
    evaluate(pipeline)
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None
    rank(pipeline, "2", fused=WORSE)
    evaluate(pipeline)
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert found.text.startswith(f"fused nDCG@10 is {WORSE_NDCG:.4f}")
    assert "has 1.0000" in found.text


def test_baseline_without_rerank_compares_final_order(make):
    pipeline = make(enable_rerank=False)
    evaluate(pipeline)
    accept(pipeline.store, pipeline.settings, ["kb"], accepted_by="ana", note="")
    pipeline.settings = pipeline.settings.model_copy(update={"enable_rerank": True})
    reranked(pipeline, WORSE)
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert "reranked nDCG@10 is" in found.text
    assert "has (fused) 1.0000" in found.text


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
def test_lost_judgements_block_exports(make, tmp_path, content):
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
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert found.level == "error"
    assert "over 2 judged queries, and now no judged query is left" in found.text
    assert "Restore queries.jsonl and qrels.tsv" in found.text
    assert "`embedder baseline drop --collection kb`" in found.text
    with pytest.raises(QualityError, match="no judged query is left"):
        enforce_quality_gate(pipeline.store, pipeline.settings, "kb")
    drop(pipeline.store, ["kb"])
    assert quality_gate.quality_not_below_baseline(pipeline, "kb").level == "note"
    enforce_quality_gate(pipeline.store, pipeline.settings, "kb")


def test_lost_judgements_block_a_model_swap(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    (tmp_path / "corpus" / "kb" / "qrels.tsv").unlink()
    gate, encoder = (
        ModelGate(pipeline.store, FakeTriton(), pipeline.settings, make_meter()),
        DenseEncoder("dense_minilm", "new"),
    )
    with pytest.raises(QualityError, match=r"judged queries.*baseline drop --collection kb"):
        gate(encoder, "kb", [])
    drop(pipeline.store, ["kb"])
    gate(encoder, "kb", [])
    # Nobody asks for judgements that nothing is compared with.
    (tmp_path / "corpus" / "kb" / "qrels.tsv").write_text("no header\n")
    gate(encoder, "kb", [])


def test_unreadable_judgements_block_exports(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    (tmp_path / "corpus" / "kb" / "qrels.tsv").write_text("no header\n")
    assert "qrels.tsv" in quality_gate.quality_not_below_baseline(pipeline, "kb").text
    with pytest.raises(QualityError, match=r"qrels\.tsv"):
        enforce_quality_gate(pipeline.store, pipeline.settings, "kb")


def test_unevaluated_tables_block_exports(make):
    pipeline = make()
    accepted(pipeline)
    rank(pipeline, "edited", reranked=WORSE)
    with pytest.raises(QualityError, match="materialize the asset `evaluation`"):
        enforce_quality_gate(pipeline.store, pipeline.settings, "kb")


def test_fewer_judged_queries_are_a_warning(make, tmp_path):
    pipeline = make()
    accepted(pipeline)
    write_qrels(tmp_path, "q1\tc.md\t1\n")
    evaluate(pipeline)
    found = quality_gate.quality_not_below_baseline(pipeline, "kb")
    assert found.level == "warning"
    assert "1 judged queries are left of the 2 of the baseline" in found.text
    enforce_quality_gate(pipeline.store, pipeline.settings, "kb")
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="fewer on purpose")
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None


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


def test_wrong_clock_hides_no_later_evaluation(make, clock):
    pipeline = make(quality_tolerance=1)
    for number, days in enumerate([0, 10, 0, -30, 0]):
        clock(days)
        rank(pipeline, f"edit {number}", reranked=GOOD if number % 2 else WORSE)
        now = evaluate(pipeline)
        assert now is not None
        assert quality_gate.quality_not_below_baseline(pipeline, "kb").text.startswith("no baseline is accepted")
        assert latest_result(pipeline.store, "evaluation", "kb") == now
        assert now.ndcg("reranked") == pytest.approx(1 if number % 2 else WORSE_NDCG)


def test_wrong_clock_hides_no_later_baseline(make, clock):
    pipeline = make()
    clock(10)
    accepted(pipeline)
    clock(0)
    reranked(pipeline, WORSE)
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is not None
    accept(pipeline.store, pipeline.settings, [], accepted_by="ana", note="on purpose")
    assert quality_gate.quality_not_below_baseline(pipeline, "kb") is None


def test_rows_without_a_sequence_are_older(make, clock):
    pipeline = make(quality_tolerance=1)
    clock(10)
    reranked(pipeline, WORSE)
    old = pipeline.store.read("evaluation", "kb").with_columns(sequence=pl.lit(None, pl.Int64))
    pipeline.store.overwrite("evaluation", "kb", old)
    clock(0)
    rank(pipeline, "edit", reranked=GOOD)
    now = evaluate(pipeline)
    assert latest_result(pipeline.store, "evaluation", "kb") == now
    assert now.ndcg("reranked") == pytest.approx(1)
