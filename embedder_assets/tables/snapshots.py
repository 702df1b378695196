"""The newest version of each table, opened once: opening reads the table's log, looking for a newer commit does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable


@dataclass(frozen=True)
class _Opened:
    delta: DeltaTable
    commit: tuple[int, int] | None


class Snapshots:
    """Opened tables by folder. Whoever commits, in whatever process, is seen at the next look."""

    def __init__(self) -> None:
        self._opened: dict[Path, _Opened] = {}

    def newest(self, folder: Path) -> DeltaTable:
        """The newest version of a table; read it only, others hold it too.

        Raises:
            DeltaError: The table is not there, or its log cannot be read.
        """
        known = self._opened.get(folder)
        if known is None or not _is_newest(folder, known):
            delta = DeltaTable(str(folder))
            known = self._opened[folder] = _Opened(delta, _identity(_commit(folder, delta.version())))
        return known.delta


def _is_newest(folder: Path, known: _Opened) -> bool:
    """Whether no commit follows, and the commit is still the one of then: a folder may be deleted and written anew."""
    version = known.delta.version()
    return (
        known.commit is not None
        and known.commit == _identity(_commit(folder, version))
        and not _commit(folder, version + 1).exists()
    )


def _commit(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


def _identity(file: Path) -> tuple[int, int] | None:
    """None where the file is gone, as that of a commit of long ago may be."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
