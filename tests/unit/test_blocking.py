"""Checks of rules, as Dagster runs them."""

from __future__ import annotations

from types import SimpleNamespace

import dagster as dg

from embedder_assets.checks import blocking
from embedder_assets.errors import TableError
from embedder_assets.tables.store import TableStore


def unreadable(pipeline: object, collection: str) -> str | None:
    """A rule whose table cannot be read."""
    try:
        raise OSError("not a Parquet file")
    except OSError as error:
        raise TableError("table 'chunks'", expected="readable files", got=str(error), remedy="Restore it.") from error


def test_an_error_of_ours_is_reported_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(blocking, "collections_of_run", lambda *_: ["kb"])

    @dg.asset
    def chunks() -> None:
        pass

    pipeline = SimpleNamespace(store=TableStore(tmp_path), noted_versions={})
    check = blocking.blocking_checks("chunks", [unreadable])
    result = dg.materialize([chunks, check], resources={"pipeline": pipeline}, raise_on_error=False)
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == (
        "collection 'kb': table 'chunks': expected readable files, got not a Parquet file. Restore it."
    )
