"""Exports in a bucket: a copy of a collection's export folder, of which its readers see the old one or the new one.

The files of each delivery lie in a folder of their own; the manifest that names them is put last, and only in the place
of the one that was looked at. So of two hosts one delivers, and nobody's manifest names the other's files.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder_assets.errors import CommitConflictError
from embedder_assets.tables.object_store import open_bucket, translate_object_store_errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MANIFEST = "manifest.json"


class S3Delivery:
    """Where exports are delivered to.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def deliver(self, folder: Path, manifest: dict[str, Any]) -> bool:
        """Makes a whole export folder the one that readers find, and says whether it was not already.

        Args:
            folder: The files. Its name is the collection's place in the bucket.
            manifest: Theirs. Two of one ``input_digest`` stand for the same export.

        Raises:
            CommitConflictError: Another host was first; look again.
            StorageError: The bucket does not answer or does not take them.
        """
        with translate_object_store_errors(f"the exports at {self._url}"):
            return self._deliver(open_bucket(self._url), folder, manifest)

    def delete(self, name: str) -> None:
        """Deletes what was delivered of a collection, the manifest first.

        Args:
            name: Of its export folder.
        """
        import obstore

        with translate_object_store_errors(f"the exports at {self._url}"):
            store = open_bucket(self._url)
            paths = [meta["path"] for chunk in obstore.list(store, prefix=f"{name}/") for meta in chunk]
            for path in sorted(paths, key=lambda path: path != f"{name}/{MANIFEST}"):
                obstore.delete(store, path)

    def _deliver(self, store: ObjectStore, folder: Path, manifest: dict[str, Any]) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        key = f"{folder.name}/{MANIFEST}"
        earlier, tag = _manifest(store, key)
        if earlier.get("input_digest") == manifest["input_digest"]:
            return False
        own = uuid.uuid4().hex
        files = [{**entry, "name": f"{own}/{entry['name']}"} for entry in manifest["files"]]
        for entry in manifest["files"]:
            obstore.put(store, f"{folder.name}/{own}/{entry['name']}", folder / entry["name"])
        body = json.dumps({**manifest, "files": files}, indent=2).encode()
        try:
            obstore.put(store, key, body, mode={"e_tag": tag} if tag else "create")
        except (AlreadyExistsError, PreconditionError) as error:
            _remove(store, folder.name, files)
            raise CommitConflictError(
                f"the export {self._url}/{key}",
                expected="nobody else to deliver it at the same time",
                got="another manifest than a moment ago",
                remedy="Nothing of this was delivered. Run again when the other run has ended.",
            ) from error
        _remove(store, folder.name, earlier.get("files", []))
        return True


def _manifest(store: ObjectStore, key: str) -> tuple[dict[str, Any], str | None]:
    """The manifest in the bucket with its tag; an empty one without a tag where there is none."""
    import obstore

    try:
        found = obstore.get(store, key)
    except FileNotFoundError:
        return {}, None
    try:
        manifest: dict[str, Any] = json.loads(bytes(found.bytes()))
    except ValueError:
        manifest = {}  # somebody else's; a new one replaces it
    return manifest, found.meta["e_tag"]


def _remove(store: ObjectStore, folder: str, files: list[dict[str, Any]]) -> None:
    import obstore

    for entry in files:
        obstore.delete(store, f"{folder}/{entry['name']}")
