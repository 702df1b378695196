"""Reads the bytes of a file whose folder others may write to: whatever it becomes meanwhile, nothing blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

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
    try:
        # Opening a pipe would wait for its other end.
        with os.fdopen(open_file(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise unreadable(thing, "a pipe, socket or device")
            _refuse_moved_outside(collection, path, file.fileno())
            data = file.read(status.st_size) if status.st_size <= limit else b""
    except OSError as error:
        raise unreadable(thing, f"{type(error).__name__}: {error.strerror}") from error
    if status.st_size > limit:
        expected, got = f"at most {limit / MB:g} MB", f"{status.st_size / MB:.1f} MB"
        raise over_limit(thing, kind="too_large", expected=expected, got=got, setting="max_document_mb")
    if not data:
        raise empty(thing)
    return data


def _refuse_moved_outside(collection: Collection, path: Path, descriptor: int) -> None:
    """Looks at what was opened, which need not be what the name led to when the folder was listed."""
    if is_long(path):
        return  # no symlink was followed
    opened = Path(f"/proc/self/fd/{descriptor}").readlink()
    if opened != path:
        refuse_outside(corpus_dir_of(collection), path, opened)
