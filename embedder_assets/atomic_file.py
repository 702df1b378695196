"""Files that other processes read while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(file: Path, content: str, *, owner_only: bool = False) -> None:
    """Puts a whole new file in the place of what was there; its folder is made where it is missing.

    Args:
        file: The file.
        content: Its text.
        owner_only: Nobody else may read it, whatever the umask.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600 if owner_only else 0o666)
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        new.write(content)
    unfinished.replace(file)
