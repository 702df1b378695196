"""Write training queries with their fused candidates: the negatives that a reranker meets in its work.

The candidates of a query are those of the first stage: dense and sparse ranking of its pool by the models of the
repository (int8, as they are served), fused by reciprocal rank. Needs no torch.

    python -m training.mine_candidates --data ../shared/data/train --documents ../shared/data/docs/rust-rfcs \
        --exclude ../shared/data/collections/liveqa_med/corpus.jsonl --out MINED_FOLDER
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder_assets.serving.models.build import require_built
from training.pools import (
    LONGEST_QUERY,
    Pool,
    duplicate_key,
    question_pool,
    read_pairs,
    sections,
    sentences,
    stable_hash,
    titles,
    topics,
)

DENSE, SPARSE = "dense_minilm", "sparse_splade"
SEED = 7
RRF_K = 60
DEPTH = 100
CANDIDATES_PER_QUERY = 40
MAX_TOKENS = 200
ROWS = 4
VOCABULARY = 30522
SENTENCES = {"squad": 2500, "medquad": 2500, "nq": 1500, "pubmedqa": 2500}


class Encoder:
    """A model of the repository, run directly: sorted by length, a few rows per call, one worker per core."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(folder / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()

    def run(self, texts: list[str]) -> dict[str, NDArray[Any]]:
        """Every output of the graph, [texts, …]."""
        encoded = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda at: -len(encoded[at]))
        batches = [order[start : start + ROWS] for start in range(0, len(order), ROWS)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
            answers = list(workers.map(lambda rows: self._answer([encoded[row] for row in rows]), batches))
        back = np.argsort(np.concatenate(batches))
        names = [item.name for item in self.session.get_outputs()]
        return {
            name: np.concatenate(column)[back] for name, column in zip(names, zip(*answers, strict=True), strict=True)
        }

    def _answer(self, rows: Sequence[Any]) -> list[NDArray[Any]]:
        feed = np.zeros((3, len(rows), len(rows[0])), np.int64)
        for at, item in enumerate(rows):
            feed[:, at, : len(item)] = item.ids, item.attention_mask, item.type_ids
        names = ("input_ids", "attention_mask", "token_type_ids")
        answer: list[NDArray[Any]] = self.session.run(None, dict(zip(names, feed, strict=True)))
        return answer


class FirstStage:
    """Exact dense and sparse search over one pool."""

    def __init__(self, dense: Encoder, sparse: Encoder, passages: list[str]) -> None:
        self.encoders = dense, sparse
        self.dense = dense.run(passages)["embedding"]
        self.sparse = _matrix(sparse.run(passages)).T.tocsr()

    def candidates(self, queries: list[str]) -> list[list[int]]:
        """The best fused passages of each query, best first."""
        dense, sparse = self.encoders
        vectors, terms = dense.run(queries)["embedding"], _matrix(sparse.run(queries))
        found = []
        for start in range(0, len(queries), 512):
            block = slice(start, start + 512)
            scores = zip(vectors[block] @ self.dense.T, (terms[block] @ self.sparse).toarray(), strict=True)
            found += [_fused(rows) for rows in scores]
        return found


def _matrix(outputs: dict[str, NDArray[Any]]) -> Any:
    from scipy.sparse import csr_matrix

    rows, width = outputs["indices"].shape
    starts = np.arange(rows + 1) * width
    return csr_matrix((outputs["values"].ravel(), outputs["indices"].ravel(), starts), shape=(rows, VOCABULARY))


def _fused(rankings: Iterable[NDArray[np.float32]]) -> list[int]:
    score: dict[int, float] = defaultdict(float)
    for scores in rankings:
        depth = min(DEPTH, len(scores))
        best = np.argpartition(-scores, depth - 1)[:depth]
        for rank, at in enumerate(best[np.argsort(-scores[best])], start=1):
            score[int(at)] += 1 / (RRF_K + rank)
    return sorted(score, key=lambda at: -score[at])[:CANDIDATES_PER_QUERY]


def make_pools(data: Path, documents: Path) -> list[Pool]:
    """The pools of all sources, with every kind of query."""
    rng = random.Random(SEED)
    squad, _ = read_pairs(data / "squad11.jsonl.gz")
    chosen = set(sorted({passage for passages in squad.values() for passage in passages}, key=stable_hash)[:7000])
    squad = {query: passages for query, passages in squad.items() if passages[0] in chosen}
    medquad, _ = read_pairs(data / "medquad.jsonl.gz")
    medquad_questions = {query: medquad[query] for query in sorted(medquad, key=stable_hash)[:9000]}
    natural, others = read_pairs(data / "qed_nq.jsonl.gz")
    selqa = [read_pairs(data / f"selqa_{part}.jsonl.gz") for part in ("test", "dev")]
    pubmed, abstracts = read_pairs(data / "pubmedqa.jsonl.gz")
    pools = {
        "squad": question_pool("squad", squad, (), 7000, rng),
        "medquad": question_pool("medquad", medquad_questions, (), 9000, rng),
        "nq": question_pool("nq", natural, others, 7000, rng),
        "selqa": question_pool("selqa", selqa[0][0] | selqa[1][0], selqa[0][1] + selqa[1][1], 5000, rng),
        "pubmedqa": question_pool("pubmedqa", pubmed, abstracts, 4000, rng),
        "sections": sections(documents, 4000, rng),
    }
    pools["medquad"].queries["topic"] = topics(medquad, pools["medquad"])
    pools["nq"].queries["title"] = titles(pools["nq"])
    for name, count in SENTENCES.items():
        pools[name].queries["sentence"] = list(sentences(pools[name], count, rng))
    return list(pools.values())


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Writes compressed JSON lines."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def mine(pool: Pool, encoders: tuple[Encoder, Encoder], excluded: set[str], out: Path) -> None:
    """Writes ``POOL.passages.jsonl.gz``, and ``POOL.KIND.jsonl.gz`` for each kind of query.

    Queries whose positive is among the excluded passages are dropped.
    """
    write_lines(out / f"{pool.name}.passages.jsonl.gz", pool.passages)
    stage = FirstStage(*encoders, pool.passages)
    for kind, queries in pool.queries.items():
        kept = [
            each for each in queries if not any(duplicate_key(pool.passages[at]) in excluded for at in each.positives)
        ]
        candidates = stage.candidates([each.query[:LONGEST_QUERY] for each in kept]) if kept else []
        rows = (
            {"query": each.query, "positives": each.positives, "candidates": found, "rest": each.rest}
            for each, found in zip(kept, candidates, strict=True)
        )
        write_lines(out / f"{pool.name}.{kind}.jsonl.gz", rows)
        print(f"{pool.name}.{kind}: {len(kept)} queries, {len(pool.passages)} passages", flush=True)


def main() -> None:
    """Read the command line and mine every pool."""
    parser = argparse.ArgumentParser(description="Mine fused candidates for training the reranker.")
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl.gz of query, passage, label")
    parser.add_argument("--documents", type=Path, required=True, help="folder of Markdown files")
    parser.add_argument("--models", type=Path, default=Path("model_repository"), help="the model repository, built")
    parser.add_argument("--exclude", type=Path, action="append", default=[], help="corpus.jsonl to keep out")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for path in args.exclude for line in path.open("rb")]
    excluded = {duplicate_key(row["text"]) for row in rows}
    for name in (DENSE, SPARSE):
        require_built(args.models, name)
    encoders = Encoder(args.models / DENSE), Encoder(args.models / SPARSE)
    for pool in make_pools(args.data, args.documents):
        mine(pool, encoders, excluded, args.out)


if __name__ == "__main__":
    main()
