import json

import numpy as np
import pytest

from benchmarks.common.judged_collections import sample
from benchmarks.retrieval_quality.run import RANKINGS, render, verdicts


def values(**means: float) -> dict[str, np.ndarray]:
    return {name: np.array([means.get(name, means["fused"])] * 4) for name in RANKINGS}


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
    ("one", "other", "holds"),
    [
        ({"fused": 0.5, "reranked": 0.5}, {"fused": 0.5, "reranked": 0.54}, [True, True, True]),
        ({"fused": 0.5, "reranked": 0.49}, {"fused": 0.5, "reranked": 0.6}, [False, True, True]),
        ({"fused": 0.5, "reranked": 0.51}, {"fused": 0.5, "reranked": 0.51}, [True, False, True]),
        ({"fused": 0.5, "dense": 0.7}, {"fused": 0.5, "reranked": 0.6}, [True, True, False]),
    ],
)
def test_requirements_are_compared_with_the_means(one, other, holds):
    assert [verdict for _, verdict in verdicts({"a": values(**one), "b": values(**other)})] == holds


def test_table_has_collections_by_rankings():
    table = render({"a": values(fused=0.25, reranked=0.5), "b": values(fused=0.75)}).splitlines()
    assert table[0] == "| nDCG@10 | a | b | mean |"
    assert "| fused | 0.2500 | 0.7500 | 0.5000 |" in table
    assert "| reranked - fused | +0.2500 | +0.0000 | +0.1250 |" in table
