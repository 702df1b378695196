"""Whether the server of a home is started again when it ends: then runs wait for it and start none of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# Whoever looks whether a lock is held, holds it for a moment.
_LOOKS_S = 2.0


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock that the kernel lets go of with this process.

    Raises:
        Timeout: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, timeout=_LOOKS_S):
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def supervision(state_folder: Path) -> Path:
    """The lock that is held while the server of ``EMBEDDER_HOME/triton`` is started again whenever it ends."""
    return state_folder / "supervised.lock"
