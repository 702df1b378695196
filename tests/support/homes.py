"""Two homes side by side: do they hold the same, row for row?"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from embedder_assets.export.export import export_folder
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

# What depends on when and in how many runs something came about, and not only on the corpus and the models.
HISTORY = {
    "document_issues": {"first_seen", "message"},  # since when, and whether an earlier version stays in the tables
    "evaluation": set(SCHEMAS["evaluation"]),  # a history of evaluations
    "evaluation_queries": set(),
    "quality_baselines": set(SCHEMAS["quality_baselines"]),  # what people have accepted
}


def differences(first: Path, second: Path, left_out: Collection[str] = ()) -> list[str]:
    """A sentence for each table and export that is not the same in both homes; some tables may be left out."""
    one, other = TableStore(first), TableStore(second)
    found = table_differences(one, other, left_out)
    for collection in sorted({*one.collections("chunks"), *other.collections("chunks")}):
        found += _exports(export_folder(first, collection), export_folder(second, collection), collection)
    return found


def table_differences(one: TableStore, other: TableStore, left_out: Collection[str] = ()) -> list[str]:
    """A sentence for each table that is not the same, wherever it is."""
    found = []
    for table in (name for name in SCHEMAS if name not in left_out):
        columns = [name for name in SCHEMAS[table] if name not in HISTORY.get(table, set())]
        if columns:
            for collection in sorted({*one.collections(table), *other.collections(table)}):
                rows = [_sorted(store.read(table, collection, columns)) for store in (one, other)]
                if not rows[0].equals(rows[1]):
                    found.append(f"{table} of {collection}: {_difference(*rows)}")
    return found


def _exports(first: Path, second: Path, collection: str) -> list[str]:
    names = [sorted(file.name for file in folder.iterdir()) if folder.exists() else [] for folder in (first, second)]
    if names[0] != names[1]:
        return [f"exports of {collection}: {names[0]} and {names[1]}"]
    return [
        f"export {name} of {collection} differs"
        for name in names[0]
        if name != "manifest.json" and not _same(first / name, second / name)
    ]


def _same(first: Path, second: Path) -> bool:
    if first.suffix == ".parquet":
        return _sorted(pl.read_parquet(first)).equals(_sorted(pl.read_parquet(second)))
    if first.suffix == ".npz":
        one, other = np.load(first), np.load(second)
        return all(np.array_equal(one[name], other[name]) for name in {*one.files, *other.files})
    if first.suffix == ".jsonl":
        lines = [sorted(file.read_text("utf-8").splitlines()) for file in (first, second)]
        return lines[0] == lines[1] and all(json.loads(line) for line in lines[0])
    return first.read_bytes() == second.read_bytes()


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort([name for name, data_type in rows.schema.items() if not isinstance(data_type, pl.List)])


def _difference(one: pl.DataFrame, other: pl.DataFrame) -> str:
    if one.height != other.height:
        return f"{one.height} rows and {other.height} rows"
    unlike = [name for name in one.columns if not one[name].equals(other[name])]
    return f"{one.height} rows that differ in {', '.join(unlike)}"
