"""Who may read and write what is kept here: its owner, unless the state folder is shared with a group on purpose."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedder_assets.errors import SettingsError

OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What a state folder holds; nothing else in it is touched.
STATE = {
    *("tables", "staging", "indexes", "runs", "exports", "locks", "dagster", "triton", "prometheus", "logs"),
    *("corpus", "corpus.index.json", "corpus.unfinished", "metrics-proof.key"),
}


# The umask that this process was started with, first of all.
_given: list[int] = []


def restrict_permissions(home: Path) -> list[Path]:
    """From now on, what this process and its children make is for its user only; so is what the state folder holds.

    A state folder with the setgid bit is shared with its group on purpose: there the user's umask stays in force.

    Args:
        home: The state folder; need not exist.

    Returns:
        What others could enter, read or write, and cannot any more.

    Raises:
        SettingsError: Another user has made it, where every user may make folders.
    """
    if owned_by_another_user(home):
        raise SettingsError(
            f"setting 'home': {home}",
            expected="a folder of yours: what it holds is trusted as code is",
            got="one that another user has put into a folder that every user may write",
            remedy="Set EMBEDDER_HOME to a folder of your own.",
        )
    if group_of(home) is not None:
        return []
    _given.append(os.umask(OTHERS))
    with suppress(OSError):
        entries = list(home.iterdir())
        present = [entry for entry in entries if entry.name in STATE]
        narrowed = [entry for entry in present if _narrow(entry)]
        # A folder that holds something else too was made for more than this. Who may write it, though, may put
        # something of his own into the place of what is ours.
        mixed = len(present) < len(entries)
        if (not mixed and _narrow(home)) or (mixed and _open_to_all(home) and _narrow(home, stat.S_IWOTH)):
            narrowed.insert(0, home)
        return narrowed
    return []


@contextmanager
def users_umask() -> Iterator[None]:
    """While the context lasts, files get the rights that the user's own umask leaves: models are not state."""
    before = os.umask(_given[0]) if _given else None
    try:
        yield
    finally:
        if before is not None:
            os.umask(before)


def open_to_others(home: Path) -> list[Path]:
    """What is in a state folder and others than its owner may enter or read, although it is not shared on purpose."""
    if group_of(home) is not None or not home.is_dir():
        return []
    state = [entry for entry in sorted(home.iterdir()) if entry.name in STATE]
    # Where a link leads to, nothing of this folder guards.
    return [each for each in state if is_open_to_others(each) and (each.is_symlink() or is_open_to_others(home))]


def is_open_to_others(path: Path) -> bool:
    """Whether others than its owner have any right to a file or folder."""
    with suppress(OSError):
        return bool(path.stat().st_mode & OTHERS)
    return False


def require_protected(folder: Path, setting: str) -> None:
    """Makes sure that no other user can put something else into the place of what a folder holds.

    Args:
        folder: What it holds is trusted as code is.
        setting: The setting that names it.

    Raises:
        SettingsError: A file or folder in it, or a folder above it, may be written by every user of the machine.
    """
    real = folder.resolve()
    below = (Path(parent, name) for parent, folders, files in os.walk(real) for name in (*folders, *files))
    for path in (real, *real.parents, *below):
        if _open_to_all(path):
            raise SettingsError(
                f"setting '{setting}': {path}",
                expected="files and folders that only their owner and a group may write: models are as good as code",
                got="one that every user of this machine may write",
                remedy=f"`chmod -R o-w {path}`, once you know what it holds; on a file system without rights, move it.",
            )


def owned_by_another_user(path: Path) -> bool:
    """Whether neither this user nor root owns something in a folder that every user may write, such as /tmp."""
    with suppress(OSError):
        by_another = path.lstat().st_uid not in (0, os.geteuid())
        return by_another and bool(path.absolute().parent.stat().st_mode & stat.S_IWOTH)
    return False


def group_of(home: Path) -> int | None:
    """The id of the group that a state folder is shared with on purpose, or None."""
    with suppress(OSError):
        found = home.stat()
        return found.st_gid if found.st_mode & stat.S_ISGID else None
    return None


def _narrow(folder: Path, rights: int = OTHERS) -> bool:
    with suppress(OSError):
        found = folder.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & rights:
            folder.chmod(stat.S_IMODE(found.st_mode) & ~rights)
            return True
    return False


def _open_to_all(path: Path) -> bool:
    with suppress(OSError):
        mode = path.lstat().st_mode
        # In a folder with the sticky bit, as /tmp, nobody replaces what is another's.
        return not stat.S_ISLNK(mode) and bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX
    return False
