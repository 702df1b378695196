"""Folders whose paths are longer than the system takes as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

LONG_NAME = "a long name of a folder ".ljust(150, "x")


def nest(folder: Path, levels: int, names: Iterable[str] = (), text: str = "# Text\n") -> int:
    """Makes so many folders in each other, with files in the innermost one, and returns a descriptor of that."""
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(LONG_NAME, dir_fd=inner)
        outer, inner = inner, os.open(LONG_NAME, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    for name in names:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=inner), "w") as file:
            file.write(text)
    return inner
