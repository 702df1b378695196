"""How much of a bare ONNX Runtime loop does each model's asset reach, end to end?

Both sides take the same rows to the same model file on the same cores, alternating. The assets are materialized in one
run, as people do; an asset's time is that of its whole Dagster step: reading the tables, loading the model, inference,
writing and publishing, and the start of Triton in the first one. The bare loop tokenizes and runs the session, its
model already loaded, and throws the answers away; the fastest of its variants counts, and its time is the mean of the
rounds before and after the run, since the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.common.acceptance import outcome
from benchmarks.common.bare_loop import CORES, Rows, fastest_loop, timed
from benchmarks.common.materialize import materialize
from benchmarks.common.mixed_corpus import write_mixed_corpus
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.store import TableStore

COLLECTION = "mixed"
# What one run materializes, in its order.
ASSETS = ("dense_embeddings", "sparse_embeddings", "fused_candidates", "reranked_candidates")
TABLES = {"dense": "dense_embeddings", "sparse": "sparse_embeddings", "rerank": "reranked_candidates"}
# Stage to its number of rows and its bare loop.
Loops = dict[str, tuple[int, Callable[[], object]]]
# What the issues ask for.
BOUNDS = {"dense": 0.95, "sparse": 0.9, "rerank": 0.9}


def main() -> None:
    """Prints a line for each stage of each round, and the median share of each stage."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        said = write_mixed_corpus(corpus / COLLECTION, args.documents, queries=True)
        os.environ.update(EMBEDDER_HOME=f"{folder}/home", EMBEDDER_CORPUS_DIR=str(corpus))
        settings = load_settings()
        store = TableStore(settings.home)
        # Once before, so that every file is warm and the reranker's pairs are known.
        materialize(COLLECTION, "documents", "chunks", "queries", *ASSETS)
        print(f"{said}, {store.count('chunks', COLLECTION)} chunks, {CORES} cores, {load()}", flush=True)
        found = rounds(loops_of(settings, store), store, args.rounds)
    print(f"asset / fastest bare loop, median of {args.rounds} rounds (lowest to highest), {load()}")
    for stage, shares in found.items():
        print(verdict(stage, shares))


def load() -> str:
    """How busy the machine was in the last minute."""
    return f"load {os.getloadavg()[0]:.1f}"


def loops_of(settings: Settings, store: TableStore) -> Loops:
    """Rows and fastest bare loop of each stage."""
    models = {"dense": settings.dense_models[0], "sparse": settings.sparse_model, "rerank": settings.rerank_model}
    loops: Loops = {}
    for stage, model in models.items():
        rows = rows_of(stage, settings, store)
        name, loop = fastest_loop(settings.model_repository / model, rows)
        print(f"{stage}: {len(rows)} rows; bare loop of {name}", flush=True)
        loops[stage] = len(rows), partial(loop, rows)
    return loops


def rounds(loops: Loops, store: TableStore, count: int) -> dict[str, list[float]]:
    """The shares of each stage, round by round."""
    shares: dict[str, list[float]] = {stage: [] for stage in loops}
    before = {stage: timed(loop) for stage, (_, loop) in loops.items()}
    for _ in range(count):
        steps = one_run(store)
        after = {stage: timed(loop) for stage, (_, loop) in loops.items()}
        for stage, (rows, _) in loops.items():
            computed = store.count(TABLES[stage], COLLECTION)
            assert computed == rows, f"{computed} rows of {rows}"
            bare, asset = (before[stage] + after[stage]) / 2, steps[TABLES[stage]]
            shares[stage].append(bare / asset)
            rates = f"loop {rows / before[stage]:.1f}/s, {rows / after[stage]:.1f}/s  asset {rows / asset:.1f}/s"
            print(f"{stage}: {rates}  share {shares[stage][-1]:.3f}", flush=True)
        before = after
    return shares


def one_run(store: TableStore) -> dict[str, float]:
    """Computes all rows of the models anew, and returns the seconds of each step."""
    for table in TABLES.values():
        store.replace(table, COLLECTION, store.read(table, COLLECTION).clear())
    return materialize(COLLECTION, *ASSETS).steps


def rows_of(stage: str, settings: Settings, store: TableStore) -> Rows:
    """What the model reads: the chunks, or the pairs of the best candidates."""
    if stage != "rerank":
        return store.read("chunks", COLLECTION, ["text"])["text"].to_list()
    best = store.read("fused_candidates", COLLECTION, where=pl.col("rank") <= settings.rerank_depth)
    queries = store.read("queries", COLLECTION, ["query_id", "text"]).rename({"text": "query_text"})
    pairs = best.join(queries, on="query_id").join(
        store.read("chunks", COLLECTION, ["chunk_id", "text"]), on="chunk_id"
    )
    return list(pairs.select("query_text", "text").iter_rows())


def verdict(stage: str, shares: Sequence[float]) -> str:
    """The median of the rounds next to what was asked for."""
    median = statistics.median(shares)
    return (
        f"- {stage}: {median:.3f} ({min(shares):.3f} to {max(shares):.3f}); "
        f"at least {BOUNDS[stage]}: {outcome(median >= BOUNDS[stage])}"
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The assets' share of a bare ONNX Runtime loop.")
    parser.add_argument("--documents", type=int, default=4100, help="4100 make about 5000 chunks")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
