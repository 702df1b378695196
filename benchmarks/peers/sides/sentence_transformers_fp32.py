"""sentence-transformers: ``encode`` over all chunks at once, as its documentation shows. The model is loaded before."""

from __future__ import annotations

from benchmarks.peers.sides.job import read_job, report


def main(dtype: str = "float32") -> None:
    """Times one encoding."""
    job = read_job()
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job.checkpoint, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    model.encode(["warm"] * 8)
    texts = job.read_texts()
    report(lambda: len(model.encode(texts, show_progress_bar=False)))


if __name__ == "__main__":
    main()
