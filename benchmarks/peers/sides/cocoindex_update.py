"""CocoIndex: one update of an app whose table is empty. The model is loaded before."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.peers.sides.job import read_job, report


def main(dtype: str = "float32") -> None:
    """Times reading, splitting, embedding and the table in LanceDB."""
    job = read_job()
    os.environ.update(
        PEERS_DOCUMENTS=job.documents,
        PEERS_CHECKPOINT=job.checkpoint,
        PEERS_SCRATCH=job.scratch,
        COCOINDEX_DB=str(Path(job.scratch) / "state"),
    )
    import lancedb
    import torch

    from benchmarks.peers.sides import cocoindex_app

    # Its embedder takes no argument for it, so the model that it has loaded is converted.
    cocoindex_app.embedder._get_model().to(getattr(torch, dtype)).encode(["warm"] * 8)

    def work() -> int:
        cocoindex_app.app.update_blocking()
        return int(lancedb.connect(str(Path(job.scratch) / "lancedb")).open_table(cocoindex_app.TABLE).count_rows())

    report(work)


if __name__ == "__main__":
    main()
