"""What does int8 cost in quality?

Each model's float32 graph is built anew from its source, and compared with the int8 graph that is served: the cosine of
every document's vectors, and nDCG@10 of exact search over whole collections (a document is its title and text, cut at
what the model reads). The reranker's float32 graph is not part of the project; ``--reranker-float32`` names one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common.acceptance import outcome
from benchmarks.common.judged_collections import NAMES, prepare
from embedder_assets.corpus.beir import read_rows
from embedder_assets.corpus.collections import find_collection
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.corpus.queries import load_qrels, load_queries
from embedder_assets.evaluation.evaluate import evaluate_rankings
from embedder_assets.evaluation.results import NDCG
from embedder_assets.retrieval.judgements import Qrels
from embedder_assets.serving.models.build import write_float32
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.onnx.cpu_session import open_session
from embedder_assets.serving.models.sources import fetch
from embedder_assets.settings import Settings, load_settings

LARGEST_LOSS = 0.01
LEAST_COSINE = 0.95
DEPTH = 100
CANDIDATES = 30
VOCABULARY = 2**15
LARGEST_ROW = 2**24

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Judged:
    """A collection in memory."""

    name: str
    ids: list[str]
    documents: list[str]
    queries: dict[str, str]
    qrels: Qrels


class Graph:
    """An ONNX graph with a model's tokenizer: one text or pair per call, a worker per core."""

    def __init__(self, graph: Path, folder: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self.session = open_session(graph)
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.no_padding()

    def run(self, rows: Sequence[Any]) -> Outputs:
        """Every output, [rows, …]."""
        names = [item.name for item in self.session.get_outputs()]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
            answers = list(workers.map(self._answer, self.tokenizer.encode_batch(list(rows))))
        return {name: np.concatenate(column) for name, column in zip(names, zip(*answers, strict=True), strict=True)}

    def _answer(self, encoding: Any) -> list[NDArray[Any]]:
        columns = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        names = ("input_ids", "attention_mask", "token_type_ids")
        feeds = {name: np.array([ids], np.int64) for name, ids in zip(names, columns, strict=True)}
        answer: list[NDArray[Any]] = self.session.run(None, feeds)
        return answer


def main() -> None:
    """Prints a table per model, and what holds."""
    args = parse_args()
    settings = load_settings()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = prepare(Path(scratch) / "corpus", tuple(args.collections))
        judged = [read(corpus, name) for name in args.collections]
        for model in (*settings.dense_models, settings.sparse_model):
            compare_encoder(settings, model, judged, Path(scratch))
        if args.reranker_float32:
            compare_reranker(settings, args.reranker_float32, judged)


def read(corpus: Path, name: str) -> Judged:
    """A collection as the pipeline reads it."""
    collection = find_collection(corpus, name)
    rows = [
        row
        for row in read_rows(collection.root / "corpus.jsonl", name, max_row_bytes=LARGEST_ROW)
        if not isinstance(row, DocumentIssue)
    ]
    queries, _ = load_queries(collection)
    qrels = load_qrels(collection)
    return Judged(
        name,
        [row.row_id for row in rows],
        [f"{row.title}\n\n{row.text}" for row in rows],
        {query.query_id: query.text for query in queries if query.query_id in qrels},
        qrels,
    )


def compare_encoder(settings: Settings, model: str, judged: list[Judged], scratch: Path) -> None:
    """Dense or sparse vectors in both precisions."""
    folder = settings.model_repository / model
    description = load_description(folder)
    plain = scratch / f"{model}.onnx"
    with tempfile.TemporaryDirectory(dir=scratch) as source:
        write_float32(fetch(description.source, folder, Path(source)), description, plain)
    graphs = {
        "fp32": Graph(plain, folder, description.max_tokens),
        "int8": Graph(folder / "1" / "model.onnx", folder, description.max_tokens),
    }
    cosines, lines = [], []
    for each in judged:
        vectors = {name: matrix(graph.run(each.documents)) for name, graph in graphs.items()}
        asked = {name: matrix(graph.run(list(each.queries.values()))) for name, graph in graphs.items()}
        cosines.append(cosine(vectors["fp32"], vectors["int8"]))
        values = {name: search_ndcg(each, asked[name], vectors[name]) for name in graphs}
        lines.append((each.name, values["fp32"], values["int8"]))
    every = np.concatenate(cosines)
    figures = f"mean {every.mean():.4f}, lowest {every.min():.4f}"
    print(f"\n{model}: cosine of int8 with fp32 over {len(every)} documents: {figures}")
    print_table(lines, bound_holds=bool(every.min() > LEAST_COSINE))


def compare_reranker(settings: Settings, float32: Path, judged: list[Judged]) -> None:
    """The reranker's logits in both precisions, on the first 30 dense candidates."""
    dense_folder = settings.model_repository / settings.dense_models[0]
    dense = Graph(dense_folder / "1" / "model.onnx", dense_folder, load_description(dense_folder).max_tokens)
    folder = settings.model_repository / settings.rerank_model
    tokens = load_description(folder).max_tokens
    graphs = {"fp32": Graph(float32, folder, tokens), "int8": Graph(folder / "1" / "model.onnx", folder, tokens)}
    lines: list[tuple[str, float, float]] = []
    logits: dict[str, list[NDArray[Any]]] = {name: [] for name in graphs}
    for each in judged:
        scores = matrix(dense.run(list(each.queries.values()))) @ matrix(dense.run(each.documents)).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES]
        texts = list(each.queries.values())
        pairs = [(texts[row], each.documents[at]) for row, chosen in enumerate(best) for at in chosen]
        values = {}
        for name, graph in graphs.items():
            found = graph.run(pairs)["score"].reshape(best.shape)
            logits[name].append(found.ravel())
            values[name] = ndcg(each, np.take_along_axis(best, np.argsort(-found, axis=1, kind="stable"), axis=1))
        lines.append((each.name, values["fp32"], values["int8"]))
    correlation = np.corrcoef(*(np.concatenate(found) for found in logits.values()))[0, 1]
    print(f"\n{settings.rerank_model}: correlation of int8 logits with fp32: {correlation:.5f}")
    print_table(lines, bound_holds=True)


def matrix(outputs: Outputs) -> NDArray[np.float32]:
    """Vectors as rows; a sparse model's spread over the vocabulary."""
    if "embedding" in outputs:
        return np.asarray(outputs["embedding"], np.float32)
    rows = np.zeros((len(outputs["indices"]), VOCABULARY), np.float32)
    np.put_along_axis(rows, outputs["indices"], outputs["values"], axis=1)
    return rows


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row with its like."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: NDArray[np.float32] = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return found


def search_ndcg(judged: Judged, queries: NDArray[np.float32], documents: NDArray[np.float32]) -> float:
    """nDCG@10 of exact search."""
    return ndcg(judged, np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :DEPTH])


def ndcg(judged: Judged, order: NDArray[np.intp]) -> float:
    """nDCG@10 of rankings, positions of documents [queries, depth]."""
    ranking = pl.DataFrame(
        {
            "query_id": np.repeat(list(judged.queries), order.shape[1]),
            "doc_id": [judged.ids[at] for at in order.ravel()],
            "rank": np.tile(np.arange(1, order.shape[1] + 1), len(order)),
        }
    )
    values = evaluate_rankings({"search": ranking}, judged.qrels).filter(measure=NDCG)["value"]
    return float(values.mean())  # type: ignore[arg-type]


def print_table(lines: list[tuple[str, float, float]], *, bound_holds: bool) -> None:
    """nDCG@10 by collection, and whether the bounds hold."""
    print(f"| {NDCG} | fp32 | int8 | difference |\n|---|---|---|---|")
    for name, plain, quantized in lines:
        print(f"| {name} | {plain:.4f} | {quantized:.4f} | {quantized - plain:+.4f} |")
    within = all(abs(quantized - plain) <= LARGEST_LOSS for _, plain, quantized in lines)
    print(f"- within {LARGEST_LOSS} on each: {outcome(within)}")
    print(f"- lowest cosine above {LEAST_COSINE}: {outcome(bound_holds)}")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Quality of int8 against float32.")
    parser.add_argument("--collections", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--reranker-float32", type=Path, help="float32 graph of the reranker")
    return parser.parse_args()


if __name__ == "__main__":
    main()
