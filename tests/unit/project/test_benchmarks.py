import json

import numpy as np
import pytest

from benchmarks.common.judged_collections import sample
from benchmarks.context.run import known_item_grades, known_item_queries
from benchmarks.retrieval_quality.run import RANKINGS, render, verdicts
from embedder_assets.chunking.chunker import Chunk
from embedder_assets.corpus.document import Document


def values(**means: float) -> dict[str, np.ndarray]:
    """nDCG@10 of four queries by ranking; underscores stand for what is between the words of a name."""
    given = {name.replace("__", ", "): mean for name, mean in means.items()}
    return {name: np.array([given.get(name, given["rrf"])] * 4) for name in RANKINGS}


GOOD = {
    "rrf": 0.5,
    "fused__default": 0.52,
    "fused__learned": 0.53,
    "reranked__default": 0.53,
    "reranked__learned": 0.54,
}


def test_sample_is_stable_and_keeps_judgements(tmp_path):
    def write(order: range) -> str:
        (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": str(n), "text": "?"}) + "\n" for n in order))
        (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{n}\td{n}\t1\n" for n in order))
        sample(tmp_path, 5, 500)
        return (tmp_path / "queries.jsonl").read_text()

    first = write(range(100))
    assert write(range(99, -1, -1)) == first
    kept = [json.loads(line)["_id"] for line in first.splitlines()]
    judged = [line.split("\t")[0] for line in (tmp_path / "qrels.tsv").read_text().splitlines()[1:]]
    assert len(kept) == 5
    assert sorted(judged) == sorted(kept)


@pytest.mark.parametrize(
    ("one", "holds"),
    [
        ({}, [True, True, True, True, True, True]),
        ({"fused__default": 0.49}, [False, False, True, True, True, True]),
        ({"reranked__default": 0.5}, [True, True, False, False, True, True]),
        ({"reranked__learned": 0.5}, [True, True, True, True, False, False]),
        ({"dense": 0.6}, [True, True, True, True, True, False]),
    ],
)
def test_requirements_are_compared_with_the_means(one, holds):
    assert [held for _, held in verdicts({"a": values(**{**GOOD, **one}), "b": values(**GOOD)})] == holds


def test_table_has_collections_by_rankings():
    table = render({"a": values(rrf=0.25, reranked__learned=0.5), "b": values(rrf=0.75)}).splitlines()
    assert table[0] == "| nDCG@10 | a | b | mean |"
    assert "| rrf | 0.2500 | 0.7500 | 0.5000 |" in table
    assert "| reranked, learned | 0.5000 | 0.7500 | 0.6250 |" in table


def test_known_item_asks_for_chunks_without_its_heading():
    text = "# Red whales\n\nRed whales swim.\n\nThey sing.\n\n# Ships\n\nThey sail.\n"
    document = Document("kb", "a.md", text, "text/markdown", len(text), "Red whales")
    queries, wanted = known_item_queries([document])
    assert queries == {"a.md:0": "Red whales"}  # one word says too little
    parts = ["Red whales swim.", "They sing.", "They sail."]
    spans = [(text.index(part), text.index(part) + len(part)) for part in parts]
    chunks = [
        Chunk("kb", "a.md", part, at, part, start, end, 3, "", "")
        for at, (part, (start, end)) in enumerate(zip(parts, spans, strict=True))
    ]
    assert known_item_grades(chunks, wanted) == {"a.md:0": {"They sing.": 1}}
