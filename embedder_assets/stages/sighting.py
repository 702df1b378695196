"""What a collection's files look like from outside: enough to see that something changed, without reading any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from embedder_assets.errors import CorpusError
from embedder_assets.stages.corpus import BEIR_QUERIES, Collection, list_sources

_JUDGEMENTS = (BEIR_QUERIES, "qrels*.tsv")


def files_digest(collection: Collection) -> str:
    """SHA-256 over the path, size and time of change of every file that a run of the collection would read.

    Raises:
        CorpusError: The collection's folder cannot be read, so nothing can be said of its files.
    """
    sources, issues, _ = list_sources(collection)
    digest = hashlib.sha256()
    for issue in issues:
        if issue.path == ".":
            raise CorpusError(
                f"collection '{collection.name}'",
                expected="a folder that can be read",
                got=issue.message,
                remedy="Nothing is deleted because of it. Correct the permissions of the folder.",
            )
        digest.update(f"{issue.path}\0{issue.kind}\n".encode())
    files = [*(source.path for source in sources), *_judgements(collection.root)]
    for line in _sightings(files, collection.root):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _judgements(root: Path) -> list[Path]:
    return sorted(path for pattern in _JUDGEMENTS for path in root.glob(pattern))


def _sightings(files: list[Path], root: Path) -> Iterator[str]:
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue  # gone since it was listed; the next look sees it missing
        yield f"{file.relative_to(root)}\0{found.st_size}\0{found.st_mtime_ns}\n"
