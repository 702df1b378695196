"""The lock that ``embedder up`` holds while it supervises the Triton of a home.

While it is held, a run that finds no server waits for the next start of that one instead of starting its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# ``is_held`` itself holds a lock for a moment.
_TIMEOUT_S = 2.0


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds a lock that the kernel releases when this process ends.

    Raises:
        Timeout: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, timeout=_TIMEOUT_S):
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


def supervisor_lock(state_folder: Path) -> Path:
    """The file of the lock for the server of ``EMBEDDER_HOME/triton``."""
    return state_folder / "supervised.lock"
