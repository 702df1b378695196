"""Reads the bytes of a file whose folder others may write to: whatever it turns into meanwhile, nothing blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from embedder_assets.stages.corpus import Collection, check_inside_corpus
from embedder_assets.stages.extract.formats import empty, unreadable
from embedder_assets.stages.extract.limits import MB, over_limit


def read_bytes(collection: Collection, path: Path, thing: str, limit: int) -> bytes:
    """Read a file of a collection.

    Raises:
        DocumentError: It cannot be read, is empty or larger than the limit, is no file, or lies outside the corpus.
    """
    try:
        # Opening a pipe would wait for its other end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise unreadable(thing, "a pipe, socket or device")
            # What was opened, which need not be what the name led to when the folder was listed.
            opened = Path(f"/proc/self/fd/{file.fileno()}")
            if opened.readlink() != path:
                check_inside_corpus(collection, opened)
            data = file.read(status.st_size) if status.st_size <= limit else b""
    except OSError as error:
        raise unreadable(thing, f"{type(error).__name__}: {error.strerror}") from error
    if status.st_size > limit:
        expected, got = f"at most {limit / MB:g} MB", f"{status.st_size / MB:.1f} MB"
        raise over_limit(thing, "max_document_mb", kind="too_large", expected=expected, got=got)
    if not data:
        raise empty(thing)
    return data
