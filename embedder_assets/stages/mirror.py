"""A corpus that is in a bucket: a folder of the home is made like it before anything looks for documents.

Only objects that changed are fetched, all of them before one file of the folder is touched: a bucket that goes away in
the middle costs no document.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from embedder_assets.errors import CorpusError
from embedder_assets.settings import Settings
from embedder_assets.tables.objects import objects_told, open_objects

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

# What the files of the folder were, beside the folder: key to the store's tag of its content.
INDEX = "corpus.index.json"
UNFINISHED = "corpus.unfinished"


def fresh_corpus(settings: Settings) -> Path:
    """The corpus folder; where the settings name a bucket, it is brought up to date.

    Raises:
        CorpusError: A key of the bucket is no path of a file.
        StorageError: The bucket cannot be reached or read. The folder is as it was.
    """
    if settings.corpus_url is None:
        return settings.corpus_dir
    locks = settings.home / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "corpus.lock"), objects_told(f"the corpus at {settings.corpus_url}"):
        _Mirror(open_objects(settings.corpus_url), settings.home, settings.corpus_dir).bring()
    return settings.corpus_dir


class _Mirror:
    def __init__(self, store: ObjectStore, home: Path, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._index = home / INDEX
        self._unfinished = home / UNFINISHED

    def bring(self) -> None:
        """Makes the folder like the bucket."""
        wanted = self._listed()
        known = self._known()
        changed = [key for key, meta in wanted.items() if known.get(key) != _tag(meta) or not self._has(key, meta)]
        present = {path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if not path.is_dir()}
        gone = present - wanted.keys()
        if not (changed or gone) and self._folder.is_dir():
            return
        fetched = self._fetched(changed)
        for name in gone:
            (self._folder / name).unlink()
        self._remove_empty_folders()
        self._folder.mkdir(parents=True, exist_ok=True)
        for key, file in fetched.items():
            modified = wanted[key]["last_modified"].timestamp()
            os.utime(file, (modified, modified))
            (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
            file.replace(self._folder / key)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        temporary = self._index.with_suffix(".unfinished")
        temporary.write_text(json.dumps({key: _tag(meta) for key, meta in wanted.items()}), "utf-8")
        temporary.replace(self._index)

    def _listed(self) -> dict[str, ObjectMeta]:
        import obstore

        listed = {meta["path"]: meta for chunk in obstore.list(self._store) for meta in chunk}
        # Some tools mark a folder by an empty object.
        files = {key: meta for key, meta in listed.items() if not key.endswith("/")}
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
        file = self._folder / key
        return file.is_file() and file.stat().st_size == meta["size"]

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

    def _remove_empty_folders(self) -> None:
        folders = [path for path in self._folder.rglob("*") if path.is_dir()]
        for path in sorted(folders, reverse=True):
            if not any(path.iterdir()):
                path.rmdir()


def _tag(meta: ObjectMeta) -> str:
    return meta["e_tag"] or f"{meta['size']} {meta['last_modified'].isoformat()}"


def _refuse_bad_key(key: str, all_keys: Mapping[str, object]) -> None:
    """A key is any text; as a path it must stay below the folder, and no file may be a folder too."""
    parts = key.split("/")
    above = [str(path) for path in PurePosixPath(key).parents]
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or any(path in all_keys for path in above):
        raise CorpusError(
            f"object {key!r} of the corpus",
            expected="a key that can be the path of a file beside the others",
            got="one that cannot",
            remedy="Rename or remove it in the bucket.",
        )
