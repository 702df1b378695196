"""Our pipeline from the documents to the dense table, in one Dagster run in this process, with nothing started before.

The seconds are those of the whole run: Dagster, reading, cutting, starting Triton, loading the model, inference,
staging and publishing. ``step`` holds the seconds of each asset's step.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.peers.sides.job import read_job

ASSETS = ("documents", "chunks", "dense_embeddings")


def main() -> None:
    """Times the run, and keeps the chunks for the sides that only embed."""
    job = read_job()
    folder = Path(job.documents)
    os.environ.update(EMBEDDER_HOME=job.scratch, EMBEDDER_CORPUS_DIR=str(folder.parent))
    os.environ["EMBEDDER_MODEL_REPOSITORY"] = job.graphs
    os.environ.update(
        EMBEDDER_DENSE_MODELS=job.precision, EMBEDDER_ENABLE_SPARSE="false", EMBEDDER_ENABLE_RERANK="false"
    )
    from benchmarks.common.cpu_time import CpuTime
    from benchmarks.common.materialize import materialize
    from embedder_assets.tables.store import TableStore

    with CpuTime() as used:
        took = materialize(folder.name, *ASSETS)
    store = TableStore(Path(job.scratch))
    texts = store.read("chunks", folder.name, ["text"])["text"].to_list()
    computed = store.count("dense_embeddings", folder.name)
    assert computed == len(texts), f"{computed} rows of {len(texts)}"
    Path(job.texts).write_text(json.dumps(texts), "utf-8")
    said = {"seconds": took.seconds, "cpu": used.seconds, "chunks": len(texts), "step": took.steps}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
