"""A collection in a folder, the runs that follow its files, and what the tables have of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from embedder_assets.chunking.stage import ChunkOutcome, ChunkStage
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.ingest import Ingest, IngestOutcome
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_meter, make_settings


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "corpus" / "kb").mkdir(parents=True)
    return tmp_path / "corpus" / "kb"


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path / "home")


@pytest.fixture
def read(store, folder, tmp_path):
    """Updates documents and returns what happened."""

    def read(**values) -> IngestOutcome:
        return Ingest(store, make_settings(tmp_path / "home", **values), Collection("kb", folder, True)).run()

    return read


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, "utf-8")


def row(row_id: str = "a", **fields: object) -> str:
    return json.dumps({"_id": row_id, **{"title": "Whale", "text": "a mammal", **fields}}) + "\n"


def chunk(home: Path, tokenizer: Path, max_tokens: int = 32) -> ChunkOutcome:
    stage = ChunkStage(TableStore(home), tokenizer, max_tokens)
    return stage.run("kb", make_meter("chunk"))


def doc_ids(store) -> list[str]:
    return sorted(store.read("documents", "kb")["doc_id"])


def rows_of(home: Path, table: str) -> pl.DataFrame:
    return TableStore(home).read(table, "kb").select(list(SCHEMAS[table])).sort(pl.all())


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def after_call(call: Callable[..., Any], act: Callable[[], None], time: int = 1) -> Callable[..., Any]:
    """A function that does something else too when it has been called so many times."""
    calls = iter(range(1, 100))

    def wrapped(*args: Any) -> Any:
        result = call(*args)
        if next(calls) == time:
            act()
        return result

    return wrapped


def removed(home: Path, table: str) -> None:
    shutil.rmtree(home / "staging" / table)


def damaged(home: Path, table: str) -> None:
    next((home / "staging" / table).rglob("*.parquet")).write_bytes(b"PAR1 nothing else")


def halved(home: Path, table: str) -> None:
    folder = next((home / "staging" / table).rglob("*.parquet")).parent
    for file in sorted(folder.glob("*.parquet"))[1:]:
        file.unlink()


STAGING_FAULTS = [removed, damaged, halved]
