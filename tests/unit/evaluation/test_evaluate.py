import math

import polars as pl
import pytest

from embedder_assets.errors import TableError
from embedder_assets.evaluation.baseline import accept
from embedder_assets.evaluation.evaluate import EvaluateStage, candidate_rankings, evaluate_rankings
from embedder_assets.evaluation.results import changes_by_query
from tests.support.corpora.judged import GOOD, MODELS, WORSE, evaluate, judged_pipeline, rank, write_qrels

SECOND = 1 / math.log2(3)  # what a document on rank 2 is worth


def ranking(**documents: list[str]) -> pl.DataFrame:
    """Query to documents, best first; one row each."""
    rows = [(query, doc, number) for query, docs in documents.items() for number, doc in enumerate(docs, start=1)]
    return pl.DataFrame(rows, {"query_id": pl.String, "doc_id": pl.String, "rank": pl.Int64}, orient="row")


def values(result: pl.DataFrame, query: str = "q", name: str = "r") -> tuple[float, ...]:
    """nDCG@10, R@100 and RR@10 of one query and ranking."""
    rows = result.filter((pl.col("query_id") == query) & (pl.col("ranking") == name))
    found = dict(rows.select("measure", "value").iter_rows())
    assert set(found) == {"nDCG@10", "R@100", "RR@10"}
    return found["nDCG@10"], found["R@100"], found["RR@10"]


def evaluated(documents: list[str], **grades: int) -> tuple[float, ...]:
    return values(evaluate_rankings({"r": ranking(q=documents)}, {"q": grades}))


def filler(count: int) -> list[str]:
    return [f"other{number}" for number in range(count)]


# The measures


def test_a_document_with_the_id_of_the_query_does_not_count():
    assert evaluated(["q", "a", "b"], a=1, b=1) == evaluated(["a", "b"], a=1, b=1) == pytest.approx((1, 1, 1))
    assert evaluated(["q", "a"], q=3, a=1) == pytest.approx((1, 1, 1))
    assert evaluate_rankings({"r": ranking(q=["q"])}, {"q": {"q": 1}}).is_empty()


def test_a_perfect_ranking_has_one_everywhere():
    assert evaluated(["a", "b", "x"], a=2, b=1) == pytest.approx((1, 1, 1))


def test_grades_are_the_gain():
    expected = (1 + 2 * SECOND) / (2 + SECOND)
    assert evaluated(["b", "a"], a=2, b=1) == pytest.approx((expected, 1, 1))


def test_the_first_relevant_document_gives_the_reciprocal_rank():
    assert evaluated(["x", "y", "a"], a=1) == pytest.approx((1 / math.log2(4), 1, 1 / 3))


def test_recall_is_the_share_of_the_relevant_documents():
    assert evaluated(["a"], a=1, b=1, c=3, d=0)[1] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("before", "expected"),
    [(9, (1 / math.log2(11), 1, 0.1)), (10, (0, 1, 0)), (99, (0, 1, 0)), (100, (0, 0, 0))],
)
def test_each_measure_ends_at_its_depth(before, expected):
    assert evaluated([*filler(before), "a"], a=1) == pytest.approx(expected)


def test_grade_zero_is_not_relevant():
    assert evaluated(["no", "bad", "a"], a=1, no=0, bad=-1) == evaluated(["x", "y", "a"], a=1)


def test_document_rank_is_its_best_chunk():
    chunks = pl.DataFrame({"query_id": "q", "doc_id": ["x", "x", "a", "x", "a"], "rank": [1, 2, 3, 4, 5]})
    result = values(evaluate_rankings({"r": chunks}, {"q": {"a": 1}}))
    assert result == pytest.approx((SECOND, 1, 0.5))


def test_the_order_of_the_rows_does_not_matter():
    rows = ranking(q=["x", "a", "b"])
    expected = evaluate_rankings({"r": rows}, {"q": {"a": 1}})
    assert evaluate_rankings({"r": rows.reverse()}, {"q": {"a": 1}}).equals(expected)


def test_query_without_results_scores_zero():
    result = evaluate_rankings({"r": ranking(q=["a"])}, {"q": {"a": 1}, "missing": {"a": 1}})
    assert values(result) == (1, 1, 1)
    assert values(result, "missing") == (0, 0, 0)


def test_empty_ranking_scores_zero():
    result = evaluate_rankings({"r": ranking()}, {"q": {"a": 1}, "p": {"b": 2}})
    assert values(result, "q") == values(result, "p") == (0, 0, 0)


def test_queries_without_a_relevant_document_do_not_count():
    result = evaluate_rankings({"r": ranking(q=["a"], judged=["a"])}, {"q": {"a": 0}, "judged": {"a": 1}})
    assert result["query_id"].unique().to_list() == ["judged"]


def test_unjudged_queries_of_a_ranking_do_not_count():
    assert evaluate_rankings({"r": ranking(q=["a"], other=["a"])}, {"q": {"a": 1}}).height == 3


def test_every_ranking_is_evaluated_for_itself():
    result = evaluate_rankings({"good": ranking(q=["a"]), "bad": ranking(q=["x"])}, {"q": {"a": 1}})
    assert values(result, name="good") == (1, 1, 1)
    assert values(result, name="bad") == (0, 0, 0)


def test_ids_may_hold_blanks_and_any_letters():
    result = evaluate_rankings({"r": ranking(**{"q 1 é": ["größe 日本.md"]})}, {"q 1 é": {"größe 日本.md": 1}})
    assert values(result, "q 1 é") == (1, 1, 1)


def test_without_judgements_there_is_no_row():
    assert evaluate_rankings({"r": ranking(q=["a"])}, {}).height == 0


# The rankings that the tables hold


FUSED = pl.DataFrame(
    {
        "query_id": "q",
        "chunk_id": ["c1", "c2", "c3", "c4"],
        "doc_id": ["a", "b", "c", "d"],
        "rank": [1, 2, 3, 4],
        "dense_rank": [2, 1, None, 3],
        "sparse_rank": [None, 3, 1, 2],
    }
)
RERANKED = pl.DataFrame({"query_id": "q", "chunk_id": ["c2", "c1"], "doc_id": ["b", "a"], "rank": [1, 2]})


def order(rows: pl.DataFrame) -> str:
    return "".join(rows.sort("rank")["doc_id"])


def test_rankings_have_their_own_order():
    found = candidate_rankings(FUSED, None, sparse=True)
    assert {name: order(rows) for name, rows in found.items()} == {"dense": "bad", "sparse": "cdb", "fused": "abcd"}


def test_a_stage_that_is_off_has_no_ranking():
    assert list(candidate_rankings(FUSED, None, sparse=False)) == ["dense", "fused"]


def test_fused_candidates_follow_reranked_ones():
    assert order(candidate_rankings(FUSED, RERANKED, sparse=True)["reranked"]) == "bacd"


def test_no_reranked_candidates_keep_fused_order():
    assert order(candidate_rankings(FUSED, RERANKED.clear(), sparse=True)["reranked"]) == "abcd"


# The stage


@pytest.fixture
def pipeline(tmp_path):
    pipeline = judged_pipeline(tmp_path, enable_sparse=False)
    rank(pipeline, "1", fused=GOOD, reranked=WORSE)
    return pipeline


def rows_of(pipeline, table: str) -> pl.DataFrame:
    return pipeline.store.read(table, "kb")


def test_an_evaluation_says_what_was_reached_by_whom(pipeline):
    figures = evaluate(pipeline)
    # q0: b on rank 3 and a on rank 4; q1: perfect.
    worse = (1 / math.log2(4) + 2 / math.log2(5)) / (2 + SECOND)
    assert figures.rankings == ["dense", "fused", "reranked"]
    assert figures.ndcg("fused") == pytest.approx(1)
    assert figures.ndcg("reranked") == pytest.approx((worse + 1) / 2)
    assert figures.values["reranked", "RR@10"] == pytest.approx((1 / 3 + 1) / 2)
    assert (figures.final, figures.queries, figures.models) == ("reranked", 2, MODELS)
    assert set(rows_of(pipeline, "evaluation")["run_id"]) == {"run-1"}


def test_a_second_run_writes_nothing(pipeline):
    evaluate(pipeline)
    before = [rows_of(pipeline, table) for table in ("evaluation", "evaluation_queries")]
    evaluate(pipeline, "run-2")
    assert all(rows_of(pipeline, table).equals(rows) for table, rows in zip(TABLES, before, strict=True))


TABLES = ("evaluation", "evaluation_queries")


def test_history_has_every_change(pipeline):
    for digest, order in [("1", GOOD), ("2", WORSE), ("1", GOOD)]:
        rank(pipeline, digest, reranked=order)
        evaluate(pipeline)
    means = rows_of(pipeline, "evaluation").filter(measure="nDCG@10", ranking="reranked").sort("evaluated_at")
    first, second, third = means["value"]
    assert first == third == pytest.approx(1)
    assert second < 0.9
    assert EvaluateStage(pipeline.store, pipeline.settings).current("kb").ndcg("reranked") == pytest.approx(1)


def test_query_results_of_newest_and_baseline_stay(pipeline):
    rank(pipeline, "accepted", reranked=GOOD)
    accepted = evaluate(pipeline)
    accept(pipeline.store, pipeline.settings, ["kb"], accepted_by="ana", note="")
    for digest in ("between", "newest"):
        rank(pipeline, digest, reranked=WORSE)
        newest = evaluate(pipeline)
    kept = rows_of(pipeline, "evaluation_queries")
    assert set(kept["input_digest"]) == {accepted.input_digest, newest.input_digest}
    changes = changes_by_query(
        pipeline.store, "kb", (newest.input_digest, "reranked"), (accepted.input_digest, "reranked")
    )
    assert changes["query_id"].to_list() == ["q0", "q1"]
    assert changes["change"][0] < 0 == changes["change"][1]


def test_lost_query_results_are_recomputed(pipeline):
    evaluate(pipeline)
    by_query = rows_of(pipeline, "evaluation_queries")
    pipeline.store.replace("evaluation_queries", "kb", by_query.clear())
    evaluate(pipeline, "run-2")
    assert rows_of(pipeline, "evaluation_queries").equals(by_query)
    assert set(rows_of(pipeline, "evaluation")["run_id"]) == {"run-1"}


def test_other_judgements_make_a_new_evaluation(pipeline, tmp_path):
    earlier = evaluate(pipeline)
    write_qrels(tmp_path, "q0\td.md\t1\n")
    newest = evaluate(pipeline)
    assert (newest.queries, newest.ndcg("reranked")) == (1, pytest.approx(1))
    assert newest.qrels_digest != earlier.qrels_digest


@pytest.mark.parametrize("lines", ["", "q0\ta.md\t0\n", "unknown\ta.md\t1\n"])
def test_no_judged_queries_no_evaluation(tmp_path, lines):
    pipeline = judged_pipeline(tmp_path, lines)
    rank(pipeline, "1", fused=GOOD, reranked=GOOD)
    assert evaluate(pipeline) is None
    assert EvaluateStage(pipeline.store, pipeline.settings).current("kb") is None
    assert not pipeline.store.exists("evaluation")


def test_disabled_stage_is_not_evaluated(tmp_path):
    pipeline = judged_pipeline(tmp_path, enable_rerank=False, enable_sparse=False)
    rank(pipeline, "1", fused=GOOD, reranked=WORSE)
    figures = evaluate(pipeline)
    assert figures.rankings == ["dense", "fused"]
    assert figures.final == "fused"


def test_rerank_fallback_is_not_evaluated(pipeline):
    rows = rows_of(pipeline, "reranked_candidates").with_columns(fallback_used=pl.lit(value=True))
    pipeline.store.replace("reranked_candidates", "kb", rows)
    figures = evaluate(pipeline)
    assert figures.rankings == ["dense", "fused"]
    assert figures.final == "fused"


def test_new_tables_have_no_current_evaluation(pipeline):
    stage = EvaluateStage(pipeline.store, pipeline.settings)
    with pytest.raises(TableError, match="got none"):
        stage.current("kb")
    evaluate(pipeline)
    assert stage.current("kb").ndcg("fused") == pytest.approx(1)
    rank(pipeline, "2", fused=WORSE)
    with pytest.raises(TableError, match="of other ones"):
        stage.current("kb")
    assert list(stage.all_current(["kb", "unknown"])) == []


def test_unmatched_judgements_are_reported(pipeline, tmp_path):
    stage = EvaluateStage(pipeline.store, pipeline.settings)
    assert stage.unmatched_judgements("kb") == []
    write_qrels(tmp_path, "q0\ta.md\t1\nq7\tgone.md\t1\n")
    assert stage.unmatched_judgements("kb") == [
        "1 queries of qrels.tsv are not in queries.jsonl, and do not count, for example q7",
        "1 documents of qrels.tsv are not in the collection, and cannot be found, for example gone.md",
    ]


def test_judgements_that_do_not_count_are_reported(pipeline, tmp_path):
    (tmp_path / "corpus/kb/qrels").mkdir()
    (tmp_path / "corpus/kb/qrels/dev.tsv").touch()
    write_qrels(tmp_path, "q0\tq0\t1\nq1\ta.md\t1\n")
    assert EvaluateStage(pipeline.store, pipeline.settings).unmatched_judgements("kb") == [
        "qrels/dev.tsv does not count next to qrels.tsv",
        "1 documents of qrels.tsv are not in the collection, and cannot be found, for example q0",
        "1 documents of qrels.tsv have the id of their query, and do not count, for example q0",
    ]
