"""The documents of one collection read into an empty home by so many processes, in a process of its own.

Usage: ``python -m benchmarks.documents.one_read CORPUS COLLECTION PROCESSES``; prints a line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from embedder_assets.corpus.collections import find_collection
from embedder_assets.corpus.extract import isolated
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore


def main(corpus: str, collection: str, processes: str) -> None:
    """Seconds of the stage, and what it read."""
    pages = 0

    def progress(_done: int, _total: int, known: int) -> None:
        nonlocal pages
        pages = known

    with tempfile.TemporaryDirectory() as home, patch.object(isolated, "cores", lambda: int(processes)):
        settings = load_settings({"home": (Path(home), "benchmark"), "corpus_dir": (Path(corpus), "benchmark")})
        found = find_collection(settings.corpus_dir, collection)
        started = time.perf_counter()
        outcome = Ingest(TableStore(settings.home), settings, found, progress).run()
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "documents": outcome.rows, "pages": pages}))


if __name__ == "__main__":
    main(*sys.argv[1:])
