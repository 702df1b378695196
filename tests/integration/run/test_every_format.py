"""A folder with a document of every format through the whole run: all in the tables, losses named, nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from embedder_assets.tables.store import TableStore
from tests.support.command import Embedder
from tests.support.corpora.every_format import EXPECTED, write_every_format


@pytest.fixture
def every_format(embedder: Embedder, home: Path, tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    write_every_format(corpus / "pumps")
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0, result.stdout + result.stderr
    return corpus


def test_every_format_is_read_once(embedder: Embedder, home: Path, every_format: Path) -> None:
    store = TableStore(home)
    documents = {row["doc_id"]: row for row in store.read("documents", "pumps").iter_rows(named=True)}
    assert {name: row["title"] for name, row in documents.items() if name in EXPECTED} == {
        name: expected.title for name, expected in EXPECTED.items()
    }
    assert sum(name.startswith("rows.jsonl") for name in documents) == 2
    for name, expected in EXPECTED.items():
        missing = [words for words in expected.words if words not in documents[name]["text"]]
        assert (name, missing) == (name, [])
        metadata = json.loads(documents[name]["metadata"])
        assert (name, {key: metadata.get(key) for key in expected.metadata}) == (name, expected.metadata)
    issues = store.read("document_issues", "pumps")
    named = set(issues.filter(pl.col("kind") == "partial").select("path", "part").iter_rows())
    assert {(name, part) for name, expected in EXPECTED.items() for part in expected.omitted} <= named
    assert set(issues["kind"]) == {"partial"}

    versions = store.read("documents", "pumps", ["doc_id", "content_sha256", "source_sha256"])
    again = embedder("run", "--corpus", str(every_format))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "up to date, nothing to compute" in again.stdout
    assert store.read("documents", "pumps", ["doc_id", "content_sha256", "source_sha256"]).equals(versions)
