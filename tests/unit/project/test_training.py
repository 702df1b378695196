import gzip
import json
import random

import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.build import require_built
from tests.conftest import PROJECT
from training import mine_candidates, pools, train_reranker
from training.export_reranker import thin_log

PAIRS = {
    "What are the symptoms of Mumps ?": ["Mumps begins with fever.", "Swollen glands are common."],
    "What causes Mumps ?": ["A virus causes mumps."],
    "Is Gout inherited ?": ["Gout runs in some families."],
}


def test_question_pool_fills_up_with_others():
    pool = pools.question_pool("medquad", PAIRS, ["other one", "other two"], 5, random.Random(1))
    assert len(pool.passages) == 5
    for asked in pool.queries["question"]:
        assert [pool.passages[at] for at in asked.positives] == PAIRS[asked.query]


def test_full_pool_takes_no_partial_question():
    pool = pools.question_pool("medquad", PAIRS, [], 2, random.Random(1))
    assert len(pool.passages) <= 2
    assert all(len(asked.positives) == len(PAIRS[asked.query]) for asked in pool.queries["question"])


def test_topic_has_answers_to_all_questions():
    pool = pools.question_pool("medquad", PAIRS, [], 9, random.Random(1))
    (topic,) = pools.topics(PAIRS, pool)
    assert topic.query == "Mumps"
    assert {pool.passages[at] for at in topic.positives} == {
        "Mumps begins with fever.",
        "Swollen glands are common.",
        "A virus causes mumps.",
    }


def test_title_query_is_cut_from_passages():
    passage = (
        f"Wild card (sports). {'The Raiders won as a wild card team in 1981, and others did later on as well. ' * 2}"
    )
    pool = pools.Pool("nq", [passage, "No title here"])
    assert pools.titles(pool) == [pools.TrainingQuery("Wild card (sports)", [0])]
    assert pools.without_title(passage).startswith("The Raiders")
    assert pools.without_title("No title here") == "No title here"


def test_sections_are_asked_for_by_telling_headings(tmp_path):
    body = "Words about leases and how they end. " * 10
    text = f"# Summary\n{body}one\n## Lease `renewal` rules\n{body}two\n## Short\nnothing\n"
    (tmp_path / "0042-gpu-leases.md").write_text(text, "utf-8")
    pool = pools.sections(tmp_path, 10, random.Random(1))
    asked = {each.query: each.positives for each in pool.queries["heading"]}
    assert len(pool.passages) == 2
    assert pool.passages[asked["Lease renewal rules"][0]].endswith("two")
    assert sorted(asked["gpu leases"]) == [0, 1]
    assert "Summary" not in asked


def test_a_sentence_is_taken_out_of_its_passage():
    sentences = [f"Sentence number {word} of this passage is long enough." for word in ("one", "two", "three", "four")]
    (asked,) = pools.sentences(pools.Pool("squad", [" ".join(sentences)]), 5, random.Random(1))
    assert asked.query in sentences
    assert asked.rest == " ".join(sentence for sentence in sentences if sentence != asked.query)


def mined(tmp_path, kind: str, rows: list[dict], passages: list[str]):
    for name, content in ((f"nq.{kind}", rows), ("nq.passages", passages)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in content)
    return train_reranker.load_sources(tmp_path)


def test_held_out_queries_are_stable(tmp_path):
    rows = [{"query": f"query {n}", "positives": [0], "candidates": [0, 1], "rest": None} for n in range(300)]
    (one,), (other,) = (mined(tmp_path, "question", order, ["a", "b"]) for order in (rows, rows[::-1]))
    assert one.held_out == other.held_out
    assert len(one.held_out) > 5
    assert not {row["query"] for row in one.held_out} & {row["query"] for row in one.train}


def test_group_has_one_positive_and_negatives(tmp_path):
    passages = [f"passage {n}" for n in range(50)]
    row = {"query": "q", "positives": [3, 7], "candidates": [*range(20)], "rest": None}
    rows = [row | {"query": f"which one {n} ?"} for n in range(50)]
    (source,) = mined(tmp_path, "question", rows, passages)
    rng = random.Random(1)
    for _ in range(30):
        query, texts, ranks = source.group(rng)
        assert query.startswith("which one")
        assert len(texts) == len(ranks) == 1 + train_reranker.NEGATIVES
        assert (texts[0], ranks[0]) in {("passage 3", 4), ("passage 7", 8)}
        assert not {"passage 3", "passage 7"} & set(texts[1:])
        assert all(text == f"passage {rank - 1}" for text, rank in zip(texts, ranks, strict=True))


@pytest.mark.parametrize(("relevant", "value"), [([1, 0, 0], 1.0), ([0, 1, 0], 0.6309), ([0] * 10 + [1], 0.0)])
def test_ndcg_of_a_candidate_list(relevant, value):
    assert train_reranker.ndcg(relevant) == pytest.approx(value, abs=1e-4)


def test_mining_respects_exclusions(tmp_path):
    try:
        for name in ("dense_minilm", "sparse_splade"):
            require_built(PROJECT / "model_repository", name)
    except ModelBuildError as error:
        pytest.skip(f"the default models are not built: {error}")
    encoders = tuple(
        mine_candidates.Encoder(PROJECT / "model_repository" / n) for n in ("dense_minilm", "sparse_splade")
    )
    passages = ["Whales are mammals that live in the sea.", "Bread is baked from flour.", "A lease ends by itself."]
    queries = [
        pools.TrainingQuery("which animals live in the ocean", [0]),
        pools.TrainingQuery("how is bread made", [1]),
    ]
    pool = pools.Pool("kb", passages, {"question": queries})
    mine_candidates.mine(pool, encoders, {pools.duplicate_key(passages[1])}, tmp_path)
    rows = list(train_reranker.read_lines(tmp_path / "kb.question.jsonl.gz"))
    assert [row["query"] for row in rows] == ["which animals live in the ocean"]
    assert rows[0]["candidates"][0] == 0
    assert list(train_reranker.read_lines(tmp_path / "kb.passages.jsonl.gz")) == passages


def test_thinned_log_keeps_last_line(tmp_path):
    source = tmp_path / "log.jsonl"
    source.write_text("".join(f'{{"step": {n}, "pad": "{"x" * 90}"}}\n' for n in range(5000)), "utf-8")
    thin_log(source, tmp_path / "thin.jsonl")
    lines = (tmp_path / "thin.jsonl").read_text("utf-8").splitlines()
    assert len(lines) < 2600
    assert json.loads(lines[-1])["step"] == 4999
