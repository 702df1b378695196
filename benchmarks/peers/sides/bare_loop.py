"""The bare loop over our chunks, the model loaded: the limit of the runtime."""

from __future__ import annotations

from benchmarks.common.bare_loop import fastest_loop
from benchmarks.peers.sides.job import read_job, report


def main() -> None:
    """Times the fastest variant."""
    job = read_job()
    texts = job.read_texts()
    _, loop = fastest_loop(job.model, texts)

    def work() -> int:
        loop(texts)
        return len(texts)

    report(work)


if __name__ == "__main__":
    main()
