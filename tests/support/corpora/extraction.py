"""One file in a collection, and what its extraction gives."""

from __future__ import annotations

import io

import docx
import pytest

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.extract import Document, DocumentIssue, DocumentLimits, read_sources
from tests.support.factories import make_settings


@pytest.fixture
def collection(tmp_path) -> Collection:
    root = tmp_path / "kb"
    root.mkdir()
    return Collection("kb", root, recursive=True)


def limits(collection: Collection, **values) -> DocumentLimits:
    return DocumentLimits.of(make_settings(collection.root.parent / "home", **{"max_document_mb": 1, **values}))


def read(collection: Collection, name: str | None = None, content: bytes | str = b"", **values):
    if name:
        (collection.root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [item for _, item in read_sources(collection, limits(collection, **values))]


def document(collection: Collection, name: str, content: bytes | str) -> Document:
    (found,) = read(collection, name, content)
    assert isinstance(found, Document), found
    return found


def issue(collection: Collection, name: str, content: bytes | str, **values) -> DocumentIssue:
    (found,) = read(collection, name, content, **values)
    assert isinstance(found, DocumentIssue), found
    assert found.collection == "kb"
    return found


def word(build) -> bytes:
    """A DOCX file; ``build`` adds to it what it holds."""
    file, built = io.BytesIO(), docx.Document()
    build(built)
    built.save(file)
    return file.getvalue()
