"""What does telemetry cost the dense stage?

Both sides compute the same vectors through the same Triton server, alternating, from reading the chunks to the
published commit. With telemetry: requests sampled and traced at the default ratio, memory read twice per second, and
at the end spans, the scrape of the endpoint and the manifest. Without: the stage alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable

from benchmarks.common.acceptance import outcome
from benchmarks.common.judged_collections import COLLECTIONS
from benchmarks.common.materialize import materialize
from embedder_assets.assets.support.lease import MemorySampler
from embedder_assets.assets.support.materialize import REQUEST_TRACE_RATIO
from embedder_assets.corpus.collections import discover_collections
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.run_context import Pipeline
from embedder_assets.settings import PROJECT_ROOT, load_settings
from embedder_assets.telemetry.manifest.summarize import RunFacts, summarize_run
from embedder_assets.telemetry.stage_record import StageMeter

MEDLINE = COLLECTIONS / "medline"
ROUNDS = 7
BOUND = 0.02

Side = Callable[[Pipeline, str], None]


def main() -> None:
    """Prints one line per round, the median share of time that telemetry adds, and what the end of a run costs."""
    corpus = MEDLINE if MEDLINE.exists() else PROJECT_ROOT / "examples" / "corpus"
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(EMBEDDER_HOME=home, EMBEDDER_CORPUS_DIR=str(corpus))
        collection = discover_collections(corpus)[0].name
        materialize(collection, "documents", "chunks")
        pipeline = Pipeline(load_settings())
        try:
            sides: dict[str, Side] = {"without": without, "with": with_telemetry}
            for side in sides.values():
                timed(pipeline, collection, side)
            shares = [one_round(pipeline, collection, sides) for _ in range(ROUNDS)]
            ends = [end_of_run(pipeline) for _ in range(ROUNDS)]
        finally:
            pipeline.close()
    median = statistics.median(shares)
    print(
        f"telemetry adds {median:+.2%} to the stage's time, median of {ROUNDS} rounds; at most {BOUND:.0%}: "
        f"{outcome(median <= BOUND)}"
    )
    print(f"spans, scrape and manifest at the end of a run: {statistics.median(ends) * 1000:.0f} ms")


def one_round(pipeline: Pipeline, collection: str, sides: dict[str, Side]) -> float:
    """Runs both sides, and returns the share of time that telemetry adds."""
    seconds = {name: timed(pipeline, collection, side) for name, side in sides.items()}
    share = seconds["with"] / seconds["without"] - 1
    print("  ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), f" {share:+.2%}", flush=True)
    return share


def timed(pipeline: Pipeline, collection: str, side: Side) -> float:
    """Seconds of one side, on an empty table."""
    empty = pipeline.store.read("dense_embeddings", collection).clear()
    pipeline.store.replace("dense_embeddings", collection, empty)
    started = time.perf_counter()
    side(pipeline, collection)
    seconds = time.perf_counter() - started
    assert pipeline.store.count("dense_embeddings", collection) == pipeline.store.count("chunks", collection)
    return seconds


def without(pipeline: Pipeline, collection: str) -> None:
    """The stage alone."""
    embed(pipeline, collection, StageMeter("dense", [collection]))


def with_telemetry(pipeline: Pipeline, collection: str) -> None:
    """The stage as an asset runs it, and the proof at its end."""
    run_id = str(uuid.uuid4())
    meter = StageMeter("dense", [collection], run_id=run_id, request_ratio=REQUEST_TRACE_RATIO)
    with MemorySampler(pipeline, meter):
        embed(pipeline, collection, meter)
    summarize_run(pipeline.settings, [meter.record()], RunFacts(run_id, True, [collection], chunk_count=0))


def embed(pipeline: Pipeline, collection: str, meter: StageMeter) -> None:
    """Computes and publishes every vector of the collection."""
    model = pipeline.settings.dense_models[0]
    encoder = DenseEncoder(model, pipeline.triton.fingerprint(model, "dense"))
    EmbeddingStage(pipeline.store, pipeline.triton, pipeline.settings, [encoder]).run(collection, meter)


def end_of_run(pipeline: Pipeline) -> float:
    """Seconds of the summary of a run with one stage."""
    meter = StageMeter("dense", ["any"])
    meter.batch(0.1, 64)
    started = time.perf_counter()
    summarize_run(pipeline.settings, [meter.record()], RunFacts(str(uuid.uuid4()), True, ["any"], chunk_count=0))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
