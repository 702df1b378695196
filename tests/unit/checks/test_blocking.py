"""Checks of rules, as Dagster runs them."""

from __future__ import annotations

from types import SimpleNamespace

import dagster as dg
import pytest

from embedder_assets.checks import blocking, telemetry
from embedder_assets.checks.finding import Finding
from embedder_assets.checks.proof import Proof
from embedder_assets.errors import TableError
from embedder_assets.tables.store import TableStore


def unreadable(pipeline: object, collection: str) -> Finding | None:
    """A rule whose table cannot be read."""
    try:
        raise OSError("not a Parquet file")
    except OSError as error:
        raise TableError("table 'chunks'", expected="readable files", got=str(error), remedy="Restore it.") from error


def holds(pipeline: object, collection: str) -> Finding | None:
    """A rule that finds nothing wrong."""
    return None


def of_bad_code(pipeline: object, collection: str) -> Finding | None:
    """A rule with a mistake in it."""
    raise KeyError("chunk_id")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (unreadable, "kb: table 'chunks': expected readable files, got not a Parquet file. Restore it."),
        (of_bad_code, "kb: the check could not be evaluated: KeyError: 'chunk_id'"),
    ],
)
def test_a_rule_that_raises_has_failed(rule, words, monkeypatch, tmp_path):
    monkeypatch.setattr(blocking, "collections_of_run", lambda *_: ["kb"])

    @dg.asset
    def chunks() -> None:
        pass

    pipeline = SimpleNamespace(store=TableStore(tmp_path), version_trackers={})
    check = blocking.blocking_checks("chunks", [rule, holds])
    result = dg.materialize([chunks, check], resources={"pipeline": pipeline}, raise_on_error=False)
    assert not result.success
    raised, other = result.get_asset_check_evaluations()
    assert (raised.passed, raised.severity, raised.description) == (False, dg.AssetCheckSeverity.ERROR, words)
    assert other.passed


def test_a_proof_that_cannot_be_read_has_failed(monkeypatch):
    def damaged(*_: object) -> Proof:
        raise ValueError("spans.jsonl: line 3 is no JSON")

    monkeypatch.setattr(telemetry, "collections_of_run", lambda *_: ["kb"])
    monkeypatch.setattr(telemetry, "_left_behind", damaged)

    @dg.asset
    def processing_summary() -> None:
        pass

    result = dg.materialize(
        [processing_summary, telemetry.telemetry_checks], resources={"pipeline": object()}, raise_on_error=False
    )
    evaluations = result.get_asset_check_evaluations()
    assert not result.success
    assert len(evaluations) == len(telemetry.RULES)
    assert {each.description for each in evaluations} == {
        "the check could not be evaluated: ValueError: spans.jsonl: line 3 is no JSON"
    }
