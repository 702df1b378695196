"""Does the title and the heading path in front of a chunk help the dense model to find it?

Chunks are cut by the real chunker and encoded by the real Triton, alone and behind their context, and the exact dense
ranking is judged: on the judged collections of ../shared/data and the sample corpus by their judgements, and on two
folders of Markdown by known-item queries. Such a query is a section's heading, or its heading behind that of the
section above where several sections share it; it asks for the section's chunks that do not repeat the heading.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common.judged_collections import COLLECTIONS, NAMES, prepare
from embedder_assets.chunking.chunker import Chunk, Chunker
from embedder_assets.chunking.context import ContextChunker, context_parts
from embedder_assets.corpus.collections import Collection, discover_collections
from embedder_assets.corpus.document import Document
from embedder_assets.corpus.extract import DocumentLimits, read_sources
from embedder_assets.corpus.markdown import sections
from embedder_assets.corpus.queries import load_qrels, load_queries
from embedder_assets.evaluation.evaluate import evaluate_rankings
from embedder_assets.evaluation.model_comparison import paired_p_value
from embedder_assets.evaluation.results import NDCG
from embedder_assets.retrieval.judgements import Qrels
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import CONTEXT_SEPARATOR, Role
from embedder_assets.settings import PROJECT_ROOT, load_settings

MODEL = "dense_minilm"
DEPTH = 1000
REQUEST = 64
# Markdown without queries, and the sample corpus, which has judged ones.
FOLDERS = {
    "rust_rfcs": COLLECTIONS.parent / "docs" / "rust-rfcs" / "text",
    "asvs": COLLECTIONS.parent / "docs" / "asvs-5.0" / "en",
    **{folder.name: folder for folder in sorted((PROJECT_ROOT / "examples" / "corpus").iterdir())},
}
# Fewer words tell nothing of a section.
LEAST_WORDS = 2
SEED = 18

Vectors = NDArray[np.float32]


class Judged(NamedTuple):
    """A collection of documents with queries."""

    documents: list[Document]
    queries: dict[str, str]
    # The grades of chunks, given what the documents were cut into.
    grades: Callable[[Sequence[Chunk]], Qrels]
    # What stands in a ranking for a chunk: its document where judgements are of documents.
    item: Callable[[Chunk], str]


class AlwaysInFront(ContextChunker):
    """Puts title and headings in front of every chunk, also of one that says them."""

    def missing_parts(self, document: Document, chunk: Chunk) -> list[str]:
        """All of them."""
        return context_parts(document, chunk)


VARIANTS: dict[str, type[Chunker | ContextChunker]] = {
    "alone": Chunker,
    "title and headings": AlwaysInFront,
    "what the text lacks": ContextChunker,
}


def main() -> None:
    """Prints a table for each collection as soon as it is there."""
    parser = argparse.ArgumentParser(description="Dense nDCG@10 with and without context.")
    parser.add_argument("--documents", type=int, default=400, help="of each collection, those with judgements first")
    parser.add_argument("--collections", nargs="+", default=[*NAMES, *FOLDERS], choices=[*NAMES, *FOLDERS])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = load_settings(
            {"home": (folder / "home", "benchmark"), "corpus_dir": (folder / "corpus", "benchmark")}
        )
        triton = TritonSession(settings)
        collections = corpus(folder / "corpus", args.collections)
        print(f"| {NDCG} | {' | '.join(VARIANTS)} |\n{'|---' * (len(VARIANTS) + 1)}|", flush=True)
        try:
            for collection in collections:
                limits = DocumentLimits.of(settings)
                report(collection.name, measured(triton, judged(collection, limits, args.documents)))
        finally:
            triton.close()


def corpus(folder: Path, names: Sequence[str]) -> list[Collection]:
    """The collections, in a corpus folder of their own."""
    prepare(folder, tuple(name for name in names if name in NAMES))
    for name in set(names) & FOLDERS.keys():
        shutil.copytree(FOLDERS[name], folder / name, ignore=shutil.ignore_patterns("*.png"))
    return discover_collections(folder)


def judged(collection: Collection, limits: DocumentLimits, most: int) -> Judged:
    """At most so many documents of a collection, and its queries that they answer."""
    found = [item for _, item in read_sources(collection, limits) if isinstance(item, Document)]
    random.Random(SEED).shuffle(found)
    queries, _ = load_queries(collection)
    if not queries:
        documents = found[:most]
        texts, wanted = known_item_queries(documents)
        return Judged(documents, texts, lambda chunks: known_item_grades(chunks, wanted), lambda chunk: chunk.chunk_id)
    qrels = load_qrels(collection)
    kept: dict[str, Document] = {}
    by_id = {document.doc_id: document for document in found}
    asked: dict[str, str] = {}
    for query in queries:
        relevant = [name for name, grade in qrels.get(query.query_id, {}).items() if grade > 0 and name in by_id]
        if relevant and len(kept) + len(relevant) <= most * 3 // 4:
            kept |= {name: by_id[name] for name in relevant}
            asked[query.query_id] = query.text
    kept |= {document.doc_id: document for document in found[: most - len(kept)]}
    return Judged(
        list(kept.values()), asked, lambda _: {name: qrels[name] for name in asked}, lambda chunk: chunk.doc_id
    )


def known_item_queries(documents: Sequence[Document]) -> tuple[dict[str, str], dict[str, tuple[str, int, int, str]]]:
    """Queries by id, and for each the document, the start and the end of its section, and its heading."""
    found = [(document, part) for document in documents for part in sections(document.text) if part.path]
    count = Counter(part.path[-1].lower() for _, part in found)
    pairs = Counter(" ".join(part.path[-2:]).lower() for _, part in found)
    queries, wanted = {}, {}
    for document, part in found:
        heading = part.path[-1]
        text = heading if count[heading.lower()] == 1 else " ".join(part.path[-2:])
        if pairs[" ".join(part.path[-2:]).lower()] == 1 and len(text.split()) >= LEAST_WORDS:
            name = f"{document.doc_id}:{part.start}"
            queries[name], wanted[name] = text, (document.doc_id, part.start, part.end, heading)
    return queries, wanted


def known_item_grades(chunks: Sequence[Chunk], wanted: dict[str, tuple[str, int, int, str]]) -> Qrels:
    """Of each query, the chunks within its section that do not repeat its heading."""
    of_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        of_document.setdefault(chunk.doc_id, []).append(chunk)
    grades: dict[str, dict[str, int]] = {}
    for query, (doc_id, start, end, heading) in wanted.items():
        inside = of_document.get(doc_id, [])
        first = max(bisect_right([chunk.start for chunk in inside], start) - 1, 0)
        grades[query] = {
            chunk.chunk_id: 1
            for chunk in inside[first:]
            if start <= chunk.start and chunk.end <= end and heading.lower() not in chunk.text.lower()
        }
    return grades


def measured(triton: TritonSession, collection: Judged) -> dict[str, tuple[NDArray[np.float64], int]]:
    """Variant to nDCG@10 of each query that all variants have a judgement for, and the number of chunks."""
    results: dict[str, tuple[pl.DataFrame, int]] = {}
    queries = encode(triton, list(collection.queries.values()), "query", {})
    known: dict[str, Vectors] = {}
    for name, kind in VARIANTS.items():
        cut = kind(triton.tokenizer_file(MODEL), triton.max_tokens(MODEL)).chunk
        chunks = [chunk for document in collection.documents for chunk in cut(document)]
        passages = [CONTEXT_SEPARATOR.join(filter(None, [chunk.context, chunk.text])) for chunk in chunks]
        vectors = encode(triton, passages, "passage", known)
        ranking = ranked(queries, vectors, list(collection.queries), chunks, collection.item)
        results[name] = evaluate_rankings({name: ranking}, collection.grades(chunks)).filter(measure=NDCG), len(chunks)
    shared = set.intersection(*(set(frame["query_id"]) for frame, _ in results.values()))
    return {
        name: (frame.filter(pl.col("query_id").is_in(shared)).sort("query_id")["value"].to_numpy(), count)
        for name, (frame, count) in results.items()
    }


def encode(triton: TritonSession, texts: Sequence[str], role: Role, known: dict[str, Vectors]) -> Vectors:
    """The vectors of texts, float32 [texts, dimension]; what is not known is sent, the longest first, and kept."""
    distinct = sorted(set(texts) - known.keys(), key=len, reverse=True)
    parts = [distinct[at : at + REQUEST] for at in range(0, len(distinct), REQUEST)]
    answers = triton.infer_many(MODEL, ([(text,) for text in part] for part in parts), role=role)
    for part, answer in zip(parts, answers, strict=True):
        known |= dict(zip(part, answer.outputs["embedding"], strict=True))
    return np.stack([known[text] for text in texts])


def ranked(
    queries: Vectors, vectors: Vectors, names: Sequence[str], chunks: Sequence[Chunk], item: Callable[[Chunk], str]
) -> pl.DataFrame:
    """The nearest chunks of each query by exact search: columns query_id, doc_id, rank."""

    def rows() -> Iterator[tuple[str, str, int]]:
        for name, scores in zip(names, queries @ vectors.T, strict=True):
            for rank, at in enumerate(np.argsort(-scores, kind="stable")[:DEPTH], start=1):
                yield name, item(chunks[at]), rank

    return pl.DataFrame(
        list(rows()), schema={"query_id": pl.String, "doc_id": pl.String, "rank": pl.Int64}, orient="row"
    )


def report(name: str, results: dict[str, tuple[NDArray[np.float64], int]]) -> None:
    """Prints the row of a collection: each variant's mean, and the p of its difference to today's."""
    base, _ = results["alone"]
    shown = [
        f"{values.mean():.4f}" + ("" if values is base else f" ({paired_p_value(base, values):.3f})")
        for values, _ in results.values()
    ]
    counts = " / ".join(str(count) for count in dict.fromkeys(count for _, count in results.values()))
    print(f"| {name}: {len(base)} queries, {counts} chunks | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
