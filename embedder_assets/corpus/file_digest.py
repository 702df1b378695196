"""What a collection's files look like from outside: enough to see that something changed, without reading any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.paths import status
from embedder_assets.corpus.source_files import list_sources
from embedder_assets.errors import CorpusError


def files_digest(collection: Collection) -> str:
    """SHA-256 over the path, size and time of change of every file that a run of the collection would read.

    Raises:
        CorpusError: The collection's folder cannot be read, so nothing can be said of its files.
    """
    listing = list_sources(collection)
    digest = hashlib.sha256()
    for issue in listing.issues:
        if issue.path == ".":
            raise CorpusError(
                f"collection '{collection.name}'",
                expected="a folder that can be read",
                got=issue.message,
                remedy="Nothing is deleted because of it. Correct the permissions of the folder.",
            )
        digest.update(f"{issue.path}\0{issue.kind}\n".encode())
    about = [collection.root / name for name in listing.about]
    for line in _file_states([*(source.path for source in listing.sources), *about], collection.root):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _file_states(files: list[Path], root: Path) -> Iterator[str]:
    for file in files:
        try:
            found = status(file)
        except FileNotFoundError:
            continue  # gone since it was listed; the next look sees it missing
        except OSError as error:
            yield f"{file.relative_to(root)}\0{error.errno}\n"
            continue
        yield f"{file.relative_to(root)}\0{found.st_size}\0{found.st_mtime_ns}\n"
