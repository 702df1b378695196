"""What do int8 and bfloat16 cost in quality?

Each model is built in all three precisions and asked in the real Triton: the cosine of every document's vectors with
those of float32, and nDCG@10 of exact search over whole collections (a document is its title and text, cut at what the
model reads). Of bfloat16 also how much a vector depends on the other texts of its batch: the documents in another
order. The reranker's float32 graph is not part of the project; ``--reranker-float32`` names one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import Precision, Role, load_description
from embedder_assets.serving.models.onnx.cpu_session import open_session
from embedder_assets.serving.models.precision import AMX_STAGES
from embedder_assets.serving.tune import repository_in
from embedder_assets.settings import Settings, load_settings

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "bf16")
# The largest difference in nDCG@10 and the lowest cosine. Where bf16 differs by more than its bound, it has to be
# nearer to float32 than int8 is.
LARGEST_LOSS = {"int8": 0.01, "bf16": 0.002}
LEAST_COSINE = {"int8": 0.95, "bf16": 0.9999}
DEPTH = 100
CANDIDATES = 30
VOCABULARY = 2**15
BATCH = "another order"
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
        for model in args.models or (*settings.dense_models, settings.sparse_model):
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
    """Dense or sparse vectors in all precisions."""
    cosines: dict[str, list[NDArray[Any]]] = {name: [] for name in (*LEAST_COSINE, BATCH)}
    lines: list[tuple[str, dict[str, float]]] = []
    found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    for precision in PRECISIONS:
        with served(settings, model, precision, scratch / f"{model}-{precision}") as triton:
            found[precision] = [
                (encode(triton, model, each.documents), encode(triton, model, list(each.queries.values()), "query"))
                for each in judged
            ]
            if precision == "bf16":
                again = [encode(triton, model, each.documents[::-1])[::-1] for each in judged]
    for number, each in enumerate(judged):
        documents = {name: vectors[number][0] for name, vectors in found.items()}
        for name in LEAST_COSINE:
            cosines[name].append(cosine(documents["fp32"], documents[name]))
        cosines[BATCH].append(cosine(documents["bf16"], again[number]))
        lines.append((each.name, {name: search_ndcg(each, *vectors[number][::-1]) for name, vectors in found.items()}))
    figures = {name: np.concatenate(values) for name, values in cosines.items()}
    print(f"\n{model}, {len(figures[BATCH])} documents")
    for name in LEAST_COSINE:
        mean, lowest = figures[name].mean(), figures[name].min()
        print(f"- cosine of {name} with fp32: mean {mean:.5f}, lowest {lowest:.5f}")
    largest = max(float(np.abs(found["bf16"][number][0] - again[number]).max()) for number in range(len(judged)))
    print(
        f"- bf16 in another order: largest distance by cosine {1 - figures[BATCH].min():.1e}, largest difference of a "
        f"number {largest:.1e}"
    )
    print_table(lines)
    # What no CPU chooses bf16 for need not be as exact in it.
    chosen = load_description(settings.model_repository / model).stage in AMX_STAGES
    for name in LEAST_COSINE:
        least = LEAST_COSINE[name if chosen else "int8"]
        print(f"- lowest cosine of {name} at least {least}: {outcome(bool(figures[name].min() >= least))}")


@contextmanager
def served(settings: Settings, model: str, precision: Precision, scratch: Path) -> Iterator[TritonSession]:
    """A Triton that serves the model in a precision."""
    description = load_description(settings.model_repository / model)
    repository = repository_in(settings, description, precision, scratch / "models")
    triton = TritonSession(settings.model_copy(update={"model_repository": repository, "home": scratch / "home"}))
    try:
        yield triton
    finally:
        triton.close()


def encode(triton: TritonSession, model: str, texts: list[str], role: Role = "passage") -> NDArray[np.float32]:
    """Vectors of texts, [rows, dimension], in requests as they come."""
    requests = [[(text,) for text in texts[start : start + 64]] for start in range(0, len(texts), 64)]
    answers = [answer.outputs for answer in triton.infer_many(model, requests, role=role)]
    return matrix({name: np.concatenate([outputs[name] for outputs in answers]) for name in answers[0]})


def compare_reranker(settings: Settings, float32: Path, judged: list[Judged]) -> None:
    """The reranker's logits in both precisions, on the first 30 dense candidates."""
    dense_folder = settings.model_repository / settings.dense_models[0]
    dense = Graph(dense_folder / "1" / "model.onnx", dense_folder, load_description(dense_folder).max_tokens)
    folder = settings.model_repository / settings.rerank_model
    tokens = load_description(folder).max_tokens
    graphs = {"fp32": Graph(float32, folder, tokens), "int8": Graph(folder / "1" / "model.onnx", folder, tokens)}
    lines: list[tuple[str, dict[str, float]]] = []
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
        lines.append((each.name, values))
    correlation = np.corrcoef(*(np.concatenate(found) for found in logits.values()))[0, 1]
    print(f"\n{settings.rerank_model}: correlation of int8 logits with fp32: {correlation:.5f}")
    print_table(lines)


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


def print_table(lines: list[tuple[str, dict[str, float]]]) -> None:
    """nDCG@10 by collection, and whether the bounds hold."""
    names = list(lines[0][1])
    print(f"| {NDCG} | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for collection, values in lines:
        cells = [f"{values[name]:.4f} ({values[name] - values['fp32']:+.4f})" for name in names[1:]]
        print(f"| {collection} | {values['fp32']:.4f} | {' | '.join(cells)} |")
    for name in names[1:]:
        bound = LARGEST_LOSS[name]
        lost = [{other: abs(values[other] - values["fp32"]) for other in names[1:]} for _, values in lines]
        within = all(each[name] <= bound or each[name] < each["int8"] for each in lost)
        nearer = ", or nearer than int8," if name != "int8" else ""
        print(f"- {name} within {bound}{nearer} on each: {outcome(within)}")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Quality of int8 and bf16 against float32.")
    parser.add_argument("--collections", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="dense and sparse ones in use by default")
    parser.add_argument("--reranker-float32", type=Path, help="float32 graph of the reranker")
    return parser.parse_args()


if __name__ == "__main__":
    main()
