"""Exports delivered to a bucket: whole or not at all, whoever delivers at the same time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store, from_url

from embedder_assets.errors import CommitConflictError, StorageError
from embedder_assets.export.s3_delivery import S3Delivery
from embedder_assets.tables.object_store import check_bucket_access
from tests.support.processes import free_port
from tests.support.servers.object_store import READER, READER_SECRET, SECRET


def exported(folder: Path, digest: str, **files: str) -> tuple[Path, dict[str, Any]]:
    """An export folder with some files, as the stage leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        entries.append({"name": name, "size_bytes": len(text.encode()), "sha256": sha256})
    return folder, {"collection": "kb", "input_digest": digest, "chunk_count": 1, "files": entries}


def delivered(url: str, name: str) -> dict[str, bytes]:
    """File name to content of what a reader finds by the manifest, each checked against its digest."""
    store = from_url(url, client_options={"allow_http": True})
    assert isinstance(store, S3Store)
    manifest = json.loads(bytes(obstore.get(store, f"{name}/manifest.json").bytes()))
    found = {}
    for entry in manifest["files"]:
        content = bytes(obstore.get(store, f"{name}/{entry['name']}").bytes())
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        found[Path(entry["name"]).name] = content
    return found


def keys(url: str) -> list[str]:
    store = from_url(url, client_options={"allow_http": True})
    return sorted(meta["path"] for chunk in obstore.list(store) for meta in chunk)


def test_delivery_replaces_the_previous_one_whole(url, tmp_path):
    delivery = S3Delivery(url)
    folder, manifest = exported(tmp_path / "it's é%2Fü", "1", a="one", b="two")
    assert delivery.deliver(folder, manifest)
    assert delivered(url, folder.name) == {"a": b"one", "b": b"two"}
    before = keys(url)
    assert not delivery.deliver(folder, manifest)
    assert keys(url) == before
    assert delivery.deliver(*exported(folder, "2", a="new"))
    assert delivered(url, folder.name) == {"a": b"new"}
    assert len(keys(url)) == 2


def test_overtaken_delivery_leaves_the_newer_whole(url, tmp_path, monkeypatch):
    ours, theirs = (
        exported(tmp_path / "one" / "kb", "1", a="ours"),
        exported(tmp_path / "other" / "kb", "2", a="theirs"),
    )
    put = obstore.put

    def overtaken(store, path, *arguments, **options):
        if path == "kb/manifest.json":
            monkeypatch.setattr(obstore, "put", put)
            assert S3Delivery(url).deliver(*theirs)
        return put(store, path, *arguments, **options)

    for first in (True, False):  # once there is no manifest yet, once there is one
        monkeypatch.setattr(obstore, "put", overtaken)
        with pytest.raises(CommitConflictError, match="expected nobody else to deliver it"):
            S3Delivery(url).deliver(*ours)
        assert delivered(url, "kb") == {"a": b"theirs"}
        assert len(keys(url)) == 2
        if first:
            assert S3Delivery(url).deliver(*exported(tmp_path / "third" / "kb", "3", a="before"))


def test_what_was_delivered_of_a_collection_is_withdrawn(url, tmp_path):
    delivery = S3Delivery(url)
    for name in ("kb", "kb too"):
        delivery.deliver(*exported(tmp_path / name, "1", a="one"))
    delivery.delete("kb")
    assert {key.split("/")[0] for key in keys(url)} == {"kb too"}
    delivery.delete("kb")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "SignatureDoesNotMatch.*Correct AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": None}, "error sending request.*Check that the server at AWS_ENDPOINT_URL answers"),
        ({"AWS_ACCESS_KEY_ID": READER, "AWS_SECRET_ACCESS_KEY": READER_SECRET}, "AccessDenied.*Correct AWS_ACCESS"),
    ],
)
def test_refused_delivery_is_reported(url, tmp_path, monkeypatch, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value or f"http://127.0.0.1:{free_port()}")
    if READER not in variables.values():
        with pytest.raises(StorageError, match=said):
            check_bucket_access("the exports", url)
    with pytest.raises(StorageError, match=said) as caught:
        S3Delivery(url).deliver(*exported(tmp_path / "kb", "1", a="one"))
    assert not any(secret in str(caught.value) for secret in ("wrong-secret", SECRET, READER_SECRET))


def test_a_bucket_that_is_not_there_is_named(url):
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/x: .*NoSuchBucket.*Make the bucket"):
        check_bucket_access("the exports", "s3://no-such-bucket/x")
