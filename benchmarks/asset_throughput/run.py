"""How much of a bare ONNX Runtime loop does each model's asset reach, end to end? Run with ``make bench``.

Both sides take the same rows to the same model file on the same cores, in turns. The asset's time is that of its whole
Dagster step: reading the tables, starting Triton, loading the model, inference, writing and publishing; each asset
starts a Triton of its own, which in a run only the first one does. The bare loop tokenizes and runs the session, its
model already loaded, and throws the answers away; the fastest of its variants counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmarks.bare_loop import CORES, Rows, fastest_loop, timed
from benchmarks.materialize import materialize
from benchmarks.mixture import write_mixture
from benchmarks.processor_time import ProcessorTime
from benchmarks.verdict import in_words
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.store import TableStore

COLLECTION = "mixture"
TABLES = {"dense": "dense_embeddings", "sparse": "sparse_embeddings", "rerank": "reranked_candidates"}
# What the issues ask for.
BOUNDS = {"dense": 0.95, "sparse": 0.9, "rerank": 0.9}


class Share(NamedTuple):
    """The asset's share of the bare loop's rate, by the clock and by processor seconds, which others change less."""

    wall: float
    cpu: float


def main() -> None:
    """Prints a line a round, and the median share of each stage."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        said = write_mixture(corpus / COLLECTION, args.documents, queries=True)
        os.environ.update(EMBEDDER_HOME=f"{folder}/home", EMBEDDER_CORPUS_DIR=str(corpus))
        settings = load_settings()
        store = TableStore(settings.home)
        prepare(args.stages)
        chunks = store.count("chunks", COLLECTION)
        print(f"{said}, {chunks} chunks, {CORES} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        found = {stage: rounds(stage, settings, store, args.rounds) for stage in args.stages}
    print(
        f"asset / fastest bare loop, median of {args.rounds} rounds (lowest to highest), load {os.getloadavg()[0]:.1f}"
    )
    for stage, shares in found.items():
        print(verdict(stage, shares))


def prepare(stages: Sequence[str]) -> None:
    """Makes the tables that the stages read, and their own once, so that every file is warm."""
    before = ["documents", "chunks"]
    if "rerank" in stages:
        before += ["dense_embeddings", "sparse_embeddings", "queries", "fused_candidates"]
    materialize(COLLECTION, *before)


def rounds(stage: str, settings: Settings, store: TableStore, count: int) -> list[Share]:
    """The shares of one stage."""
    rows = rows_of(stage, settings, store)
    models = {"dense": settings.dense_models[0], "sparse": settings.sparse_model, "rerank": settings.rerank_model}
    name, loop = fastest_loop(settings.model_repository / models[stage], rows)
    print(f"{stage}: {len(rows)} rows; bare loop of {name}", flush=True)
    return [one_round(stage, rows, lambda: loop(rows), store) for _ in range(count)]


def one_round(stage: str, rows: Rows, loop: Callable[[], None], store: TableStore) -> Share:
    """Runs both sides once."""
    table = TABLES[stage]
    with ProcessorTime() as of_loop:
        bare = timed(loop)
    store.replace(table, COLLECTION, store.read(table, COLLECTION).clear())
    with ProcessorTime() as of_asset:
        asset = materialize(COLLECTION, table).steps[table]
    computed = store.count(table, COLLECTION)
    assert computed == len(rows), f"{computed} rows of {len(rows)}"
    share = Share(bare / asset, of_loop.seconds / of_asset.seconds)
    rates = f"loop {len(rows) / bare:.1f}/s  asset {len(rows) / asset:.1f}/s"
    print(f"{stage}: {rates}  share {share.wall:.3f}  of CPU seconds {share.cpu:.3f}", flush=True)
    return share


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


def verdict(stage: str, shares: Sequence[Share]) -> str:
    """The median of the rounds beside what was asked for."""
    walls = [share.wall for share in shares]
    median, cpu = statistics.median(walls), statistics.median(share.cpu for share in shares)
    return (
        f"- {stage}: {median:.3f} ({min(walls):.3f} to {max(walls):.3f}), of CPU seconds {cpu:.3f}; "
        f"at least {BOUNDS[stage]}: {in_words(median >= BOUNDS[stage])}"
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The assets' share of a bare ONNX Runtime loop.")
    parser.add_argument("--documents", type=int, default=4100, help="4100 make about 5000 chunks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stages", nargs="+", default=list(TABLES), choices=list(TABLES), metavar="STAGE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
