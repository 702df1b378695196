"""Looks at files and folders so that no error passes for an absence, and at any depth.

``os.path.exists``, ``isdir`` and their like answer False where they may not look, and the system takes no path of
``PATH_MAX`` bytes or more, though a tree may be deeper. Here an error comes out as the ``OSError`` that it is, and a
longer path is walked part by part. No symlink may be in it, so the walk stays below where it began.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

_PATH_MAX = 4096  # of Linux, with the NUL at the end
_PREFIX = 4000  # of it, what is opened at once
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_DESCRIPTIONS = {
    errno.ENOENT: "a broken symlink, or a file that has just gone",
    errno.ELOOP: "a loop of symlinks",
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
}


@dataclass(frozen=True)
class Entry:
    """A name in a folder.

    Attributes:
        name: As it stands there.
        is_link: Whether it is a symlink.
        is_folder: Whether it is a folder, or leads to one.
        error: Why that cannot be known.
    """

    name: str
    is_link: bool = False
    is_folder: bool = False
    error: OSError | None = None


def list_folder(folder: Path) -> list[Entry]:
    """All names in a folder, sorted.

    Raises:
        OSError: They cannot be read, or not all of them.
    """
    with _held(folder) as (name, parent):
        descriptor = os.open(name, os.O_RDONLY | _FOLDER, dir_fd=parent)
    try:
        with os.scandir(descriptor) as entries:
            return sorted((_looked_at(entry, descriptor) for entry in entries), key=lambda entry: entry.name)
    finally:
        os.close(descriptor)


def status(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
    """What ``os.stat`` says of a path.

    Raises:
        OSError: Nothing is there, or it cannot be looked at.
    """
    with _held(path) as (name, parent):
        return os.stat(name, dir_fd=parent, follow_symlinks=follow_symlinks)


def may_read(path: Path) -> bool:
    """Whether this user may read what is at a path."""
    with _held(path) as (name, parent):
        return os.access(name, os.R_OK, dir_fd=parent)


def open_file(path: Path, flags: int) -> int:
    """A file descriptor, which the caller has to close.

    Raises:
        OSError: It cannot be opened.
    """
    with _held(path) as (name, parent):
        return os.open(name, flags if parent is None else flags | os.O_NOFOLLOW, dir_fd=parent)


def is_long(path: Path) -> bool:
    """Whether the system does not take a path as a whole."""
    return len(os.fsencode(path)) >= _PATH_MAX


def real_path(path: Path) -> Path:
    """A path without symlinks.

    Raises:
        OSError: One of them cannot be followed.
    """
    return Path(os.path.realpath(path, strict=True))


def printable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def describe_os_error(error: OSError) -> str:
    """An error, as a person would say it."""
    return _DESCRIPTIONS.get(error.errno or 0) or f"{type(error).__name__}: {error.strerror}"


def _looked_at(entry: os.DirEntry[str], folder: int) -> Entry:
    try:
        if not entry.is_symlink():
            return Entry(entry.name, is_folder=entry.is_dir(follow_symlinks=False))
        return Entry(entry.name, is_link=True, is_folder=S_ISDIR(os.stat(entry.name, dir_fd=folder).st_mode))
    except OSError as error:
        return Entry(entry.name, error=error)


@contextmanager
def _held(path: Path) -> Iterator[tuple[str, int | None]]:
    """What the functions of ``os`` take for a path: a path, or a name and the descriptor of its folder."""
    if not is_long(path):
        yield os.fspath(path), None
        return
    whole = os.fsencode(path.absolute())
    end = whole.rfind(b"/", 0, _PREFIX)
    *parts, name = whole[end + 1 :].split(b"/")
    parent = os.open(whole[:end], os.O_PATH | _FOLDER)
    try:
        prefix = os.fsdecode(whole[:end])
        if os.fspath(Path(f"/proc/self/fd/{parent}").readlink()) != prefix:
            raise OSError(errno.ELOOP, "a symlink in so long a path", prefix)
        for part in parts:
            child = os.open(part, os.O_PATH | os.O_NOFOLLOW | _FOLDER, dir_fd=parent)
            os.close(parent)
            parent = child
        yield os.fsdecode(name), parent
    finally:
        os.close(parent)
