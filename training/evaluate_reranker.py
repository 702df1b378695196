r"""Measure the reranker on whole collections, next to the first stage that feeds it.

The first stage is exact: dense and sparse rankings of all documents, fused by reciprocal rank. The reranker sees the
best 30. All models run in int8, as they are served; neither torch nor Triton is needed.

    python training/evaluate_reranker.py --models model_repository \
        --collection ../shared/data/collections/medline --collection ../shared/data/collections/cranfield
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

RRF_K = 60
CANDIDATES = 30
CUTOFF = 10
MAX_TOKENS = 256
BATCH = 8
WEIGHTS = (0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Collection:
    """A collection in the BEIR layout; ``gains[q]`` maps a document's position to its grade."""

    name: str
    documents: list[str]
    queries: list[str]
    gains: list[dict[int, float]]


class OnnxModel:
    """A tokenizer and a graph, run as the server runs them: by length, in micro-batches."""

    def __init__(self, graph: Path, tokenizer: Path, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()

    def run(self, texts: list[str] | list[tuple[str, str]]) -> list[NDArray[Any]]:
        """Return the graph's outputs for all texts or pairs, in their order."""
        encoded = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]))
        parts = []
        for start in range(0, len(order), BATCH):
            chunk = [encoded[i] for i in order[start : start + BATCH]]
            feed = np.zeros((3, len(chunk), len(chunk[0])), dtype=np.int64)
            for row, item in enumerate(chunk):
                feed[:, row, : len(item)] = item.ids, item.attention_mask, item.type_ids
            names = ("input_ids", "attention_mask", "token_type_ids")
            parts.append(self.session.run(None, dict(zip(names, feed, strict=True))))
        back = np.argsort(order)
        return [np.concatenate(output)[back] for output in zip(*parts, strict=True)]


def read_collection(folder: Path, max_queries: int) -> Collection:
    """Read a collection and keep its first judged queries."""

    def rows(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    corpus = rows("corpus.jsonl")
    place = {row["_id"]: i for i, row in enumerate(corpus)}
    judged: dict[str, dict[int, float]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            judged[query][place[document]] = float(grade)
    queries = [row for row in rows("queries.jsonl") if judged[row["_id"]]][:max_queries]
    return Collection(
        folder.name,
        [f"{row['title']} {row['text']}".strip() for row in corpus],
        [row["text"] for row in queries],
        [judged[row["_id"]] for row in queries],
    )


def ndcg(ranking: NDArray[np.intp], gains: dict[int, float]) -> float:
    """NDCG at the cutoff, with the grade itself as the gain."""
    discounts = 1 / np.log2(np.arange(2, CUTOFF + 2))
    got = np.array([gains.get(int(document), 0.0) for document in ranking[:CUTOFF]])
    best = np.sort(list(gains.values()))[::-1][:CUTOFF]
    return float(got @ discounts[: len(got)] / (best @ discounts[: len(best)]))


def ranks(scores: Floats) -> Floats:
    """Rank of each document, from 1, for every query."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return (np.argsort(order, axis=1) + 1).astype(np.float64)


def sparse_scores(documents: list[NDArray[Any]], queries: list[NDArray[Any]]) -> Floats:
    """Dot products of the (indices, values) pairs of documents and queries."""
    vocabulary = 1 + int(max(documents[0].max(), queries[0].max()))

    def rows(pairs: list[NDArray[Any]]) -> NDArray[np.float32]:
        table = np.zeros((len(pairs[0]), vocabulary), dtype=np.float32)
        np.put_along_axis(table, pairs[0], pairs[1], axis=1)
        return table

    return (rows(queries) @ rows(documents).T).astype(np.float64)


def standardized(values: Floats) -> Floats:
    """Z-scores, zero where all values are equal."""
    return np.asarray((values - values.mean()) / (values.std() or 1.0), dtype=np.float64)


def first_stage(collection: Collection, models: Path, threads: int) -> dict[str, Floats]:
    """Score every document for every query: dense, sparse, and the two fused."""

    def encode(name: str) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        folder = models / name
        model = OnnxModel(folder / "1" / "model.onnx", folder / "tokenizer.json", threads)
        return model.run(collection.documents), model.run(collection.queries)

    documents, queries = encode("dense_minilm")
    dense = (queries[0] @ documents[0].T).astype(np.float64)
    sparse = sparse_scores(*encode("sparse_splade"))
    return {"dense": dense, "sparse": sparse, "fused": 1 / (RRF_K + ranks(dense)) + 1 / (RRF_K + ranks(sparse))}


def evaluate(collection: Collection, models: Path, args: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one collection: nDCG of each ranking and how float32 and int8 logits agree."""
    stages = first_stage(collection, models, args.threads)
    rankings = {name: list(np.argsort(-scores, axis=1, kind="stable")) for name, scores in stages.items()}
    candidates = [ranking[:CANDIDATES] for ranking in rankings["fused"]]
    pairs = [
        (query, collection.documents[document])
        for query, chosen in zip(collection.queries, candidates, strict=True)
        for document in chosen
    ]
    folder = models / "rerank_cross_encoder"
    tokenizer = folder / "tokenizer.json"
    flat = OnnxModel(folder / "1" / "model.onnx", tokenizer, args.threads).run(pairs)[0][:, 0]
    logits = flat.astype(np.float64).reshape(len(candidates), -1)
    evidence = standardized(-np.log(np.arange(1, logits.shape[1] + 1)))
    combined = {"cross-encoder alone": logits}
    for weight in WEIGHTS:
        scores = [evidence + weight * standardized(row) for row in logits]
        combined[f"fused + {weight} cross-encoder"] = np.array(scores)
    for name, table in combined.items():
        rankings[name] = [c[np.argsort(-s, kind="stable")] for c, s in zip(candidates, table, strict=True)]
    figures = {
        name: float(np.mean([ndcg(r, g) for r, g in zip(ranking, collection.gains, strict=True)]))
        for name, ranking in rankings.items()
    }
    if args.float32:
        exact = OnnxModel(args.float32, tokenizer, args.threads).run(pairs)[0][:, 0]
        figures["int8 and float32 logits, correlation"] = float(np.corrcoef(flat, exact)[0, 1])
    return figures


def print_table(columns: dict[str, dict[str, float]]) -> None:
    """Print the figures as a Markdown table, one column a collection."""
    print(f"| nDCG@{CUTOFF} | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{column[name]:.3f}' for column in columns.values())} |")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the reranker on whole collections.")
    parser.add_argument("--models", type=Path, required=True, help="the model repository, built")
    parser.add_argument("--collection", type=Path, action="append", required=True, help="repeat for more")
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--float32", type=Path, help="float32 graph of the reranker to compare with")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Evaluate all collections and print one table."""
    args = parse_args()
    collections = [read_collection(folder, args.max_queries) for folder in args.collection]
    print_table({collection.name: evaluate(collection, args.models, args) for collection in collections})


if __name__ == "__main__":
    main()
