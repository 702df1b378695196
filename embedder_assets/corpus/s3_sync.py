"""A corpus that is in a bucket: a folder of the home is made like it before anything looks for documents.

Only objects that changed are fetched, all of them before one file of the folder is touched: a bucket that goes away in
the middle costs no document.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TYPE_CHECKING

from filelock import FileLock

from embedder_assets.atomic_file import write_atomically
from embedder_assets.corpus.collections import is_left_behind
from embedder_assets.corpus.paths import list_folder, status
from embedder_assets.errors import CorpusError
from embedder_assets.settings import Settings
from embedder_assets.tables.object_store import open_bucket, translate_object_store_errors

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

# What the files of the folder were, kept next to the folder: key to the store's tag of its content.
INDEX = "corpus.index.json"
UNFINISHED = "corpus.unfinished"
_NAME_MAX = 255  # bytes of a file's name


def sync_corpus(settings: Settings) -> Path:
    """The corpus folder; where the settings name a bucket, it is synced first.

    Raises:
        CorpusError: A key of the bucket is no path of a file.
        StorageError: The bucket cannot be reached or read. The folder is as it was.
    """
    if settings.corpus_url is None:
        return settings.corpus_dir
    locks = settings.home / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "corpus.lock"), translate_object_store_errors(f"the corpus at {settings.corpus_url}"):
        _Sync(open_bucket(settings.corpus_url), settings.home, settings.corpus_dir).run()
    return settings.corpus_dir


class _Sync:
    def __init__(self, store: ObjectStore, home: Path, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._index = home / INDEX
        self._unfinished = home / UNFINISHED

    def run(self) -> None:
        """Makes the folder like the bucket."""
        wanted = self._listed()
        known = self._known()
        self._folder.mkdir(parents=True, exist_ok=True)
        changed = [key for key, meta in wanted.items() if known.get(key) != _tag(meta) or not self._has(key, meta)]
        gone = set(self._present()[0]) - wanted.keys()
        if not (changed or gone):
            return
        fetched = self._fetched(changed)
        # What is new comes before the rest goes: to who reads meanwhile, an object that was moved is never missing.
        in_the_way = _in_the_way(gone, fetched.keys())
        self._remove(in_the_way)
        for key, file in fetched.items():
            modified = wanted[key]["last_modified"].timestamp()
            os.utime(file, (modified, modified))
            (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
            file.replace(self._folder / key)
        self._remove(gone - in_the_way)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        write_atomically(self._index, json.dumps({key: _tag(meta) for key, meta in wanted.items()}))

    def _listed(self) -> dict[str, ObjectMeta]:
        import obstore

        listed = {meta["path"]: meta for chunk in obstore.list(self._store) for meta in chunk}
        # Some tools mark a folder by an empty object.
        files = {key: meta for key, meta in listed.items() if not key.endswith("/") and not _is_left_behind(key)}
        for key in files:
            _refuse_bad_key(key, files)
        return files

    def _known(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._index.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known

    def _has(self, key: str, meta: ObjectMeta) -> bool:
        try:
            found = status(self._folder / key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return S_ISREG(found.st_mode) and found.st_size == meta["size"]

    def _present(self) -> tuple[list[str], list[Path]]:
        """The files of the folder by their keys, and the folders in it, the inner ones last."""
        files, folders = [], [self._folder]
        for folder in folders:
            for entry in list_folder(folder):
                path = folder / entry.name
                if entry.is_folder and not entry.is_link:
                    folders.append(path)
                else:
                    files.append(path.relative_to(self._folder).as_posix())
        return files, folders[1:]

    def _fetched(self, keys: list[str]) -> dict[str, Path]:
        """Each object in a file, all in one folder of their own."""
        import obstore

        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir(parents=True)
        files = {key: self._unfinished / str(number) for number, key in enumerate(keys)}
        for key, file in files.items():
            with file.open("wb") as target:
                for chunk in obstore.get(self._store, key).stream():
                    target.write(chunk)
        return files

    def _remove(self, names: Set[str]) -> None:
        """Removes files, and the folders that are empty then."""
        for name in names:
            (self._folder / name).unlink()
        for folder in reversed(self._present()[1]):
            if not list_folder(folder):
                folder.rmdir()


def _is_left_behind(key: str) -> bool:
    *folders, name = key.split("/")
    return is_left_behind(name, is_folder=False) or any(is_left_behind(each, is_folder=True) for each in folders)


def _tag(meta: ObjectMeta) -> str:
    return meta["e_tag"] or f"{meta['size']} {meta['last_modified'].isoformat()}"


def _above(key: str) -> list[str]:
    return [str(path) for path in PurePosixPath(key).parents]


def _in_the_way(old: Set[str], new: Set[str]) -> set[str]:
    """The files that are where a new one needs a folder, or in a folder where a new file is to be."""
    folders = {path for key in new for path in _above(key)}
    return {name for name in old if name in folders or not new.isdisjoint(_above(name))}


def _refuse_bad_key(key: str, all_keys: Mapping[str, object]) -> None:
    """A key is any text; as a path it must stay below the folder, and no file may be a folder too."""
    parts = key.split("/")
    bad = any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > _NAME_MAX for part in parts)
    if bad or any(path in all_keys for path in _above(key)):
        raise CorpusError(
            f"object {key!r} of the corpus",
            expected="a key that can be the path of a file next to the others",
            got="one that cannot",
            remedy="Rename or remove it in the bucket.",
        )
