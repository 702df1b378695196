"""Reads the bytes of a file whose folder others may write to: whatever it becomes meanwhile, nothing blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.extract.formats import unreadable
from embedder_assets.corpus.extract.limits import MB, over_limit
from embedder_assets.corpus.extract.plain import empty
from embedder_assets.corpus.paths import is_long, open_file
from embedder_assets.corpus.source_files import corpus_dir_of, refuse_outside


def read_bytes(collection: Collection, path: Path, thing: str, limit: int) -> bytes:
    """Read a file of a collection.

    Raises:
        DocumentError: It cannot be read, is empty or larger than the limit, is no file, or lies outside the corpus.
    """
    with open_source(collection, path, thing) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size) if size <= limit else b""
    if size > limit:
        expected, got = f"at most {limit / MB:g} MB", f"{size / MB:.1f} MB"
        raise over_limit(thing, kind="too_large", expected=expected, got=got, setting="max_document_mb")
    if not data:
        raise empty(thing)
    return data


@contextmanager
def open_source(collection: Collection, path: Path, thing: str) -> Iterator[IO[bytes]]:
    """Open a file of a collection; also what goes wrong while it is read is an error of the document.

    Raises:
        DocumentError: It cannot be read, is no file, or lies outside the corpus.
    """
    try:
        # Opening a pipe would wait for its other end.
        with os.fdopen(open_file(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise unreadable(thing, "a pipe, socket or device")
            _refuse_moved_outside(collection, path, file.fileno())
            yield file
    except OSError as error:
        raise unreadable(thing, f"{type(error).__name__}: {error.strerror}") from error


def _refuse_moved_outside(collection: Collection, path: Path, descriptor: int) -> None:
    """Looks at what was opened, which need not be what the name led to when the folder was listed."""
    if is_long(path):
        return  # no symlink was followed
    opened = Path(f"/proc/self/fd/{descriptor}").readlink()
    if opened != path:
        refuse_outside(corpus_dir_of(collection), path, opened)
