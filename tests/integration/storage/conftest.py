"""Two hosts that share the tables of a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder_assets.tables.store import TableStore


@pytest.fixture
def hosts(url: str, tmp_path: Path) -> tuple[TableStore, TableStore]:
    return TableStore(tmp_path / "one", url), TableStore(tmp_path / "other", url)
