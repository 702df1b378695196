"""Metadata and permissions through whole runs: a change is seen in search after the next run and computes no vector."""

from __future__ import annotations

import json
from pathlib import Path

from embedder_assets.tables.store import TableStore
from tests.support.command import Embedder, write

QUESTION = "when are seals replaced"


def test_acl_change_is_seen_and_computes_no_vector(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "pumps"
    write(
        folder / "finance.md",
        "---\nacl: [group:finance]\nyear: 2024\n---\nSeals are replaced at high cost.\n",
    )
    write(folder / "manual.md", "---\nyear: 2019\n---\nSeals are replaced every two years.\n")
    write(folder / "collection.toml", "public = true\n")
    assert embedder("run", "--corpus", str(folder.parent)).returncode == 0
    assert found(embedder) == {"finance.md", "manual.md"}
    assert found(embedder, "--allow", "group:staff") == {"manual.md"}
    assert found(embedder, "--allow", "group:finance") == {"finance.md", "manual.md"}
    assert found(embedder, "--where", "year >= 2020") == {"finance.md"}

    store = TableStore(home)
    vectors = {table: store.version(table) for table in ("dense_embeddings", "sparse_embeddings", "chunks")}
    write(folder / "metadata.jsonl", '{"glob": "*.md", "acl": ["group:staff"]}\n')
    again = embedder("run", "--corpus", str(folder.parent))
    assert again.returncode == 0, again.stdout + again.stderr
    assert {table: store.version(table) for table in vectors} == vectors
    assert found(embedder, "--allow", "group:staff") == {"finance.md", "manual.md"}
    assert found(embedder, "--allow", "group:finance") == set()

    wrong = embedder("search", QUESTION, "--where", "yaer >= 2020")
    assert wrong.returncode != 0
    assert "did you mean 'year'" in (wrong.stdout + wrong.stderr).lower()


def found(embedder: Embedder, *options: str) -> set[str]:
    result = embedder("search", QUESTION, "--json", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    return {hit["doc_id"] for hit in json.loads(result.stdout)}
