"""Results of checks for each collection: over real runs of small assets on a real SQLite instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import dagster as dg
import pytest

from embedder_assets.checks import blocking
from embedder_assets.checks.finding import Finding
from embedder_assets.partitions import PARTITIONS_NAME, collections
from embedder_assets.run import dagster_instance
from embedder_assets.settings import load_settings
from embedder_assets.telemetry import check_results
from embedder_assets.telemetry.check_results import RECENT
from embedder_assets.telemetry.exporter.live_state import StateCollector

FINDINGS: dict[str, Finding | None] = {}


def no_fall(pipeline: object, collection: str) -> Finding | None:
    """What the test wants it to say."""
    return FINDINGS.get(collection)


@dg.asset(partitions_def=collections, backfill_policy=dg.BackfillPolicy.single_run())
def evaluation() -> None:
    """An asset that is judged."""


@dg.asset(partitions_def=collections, deps=[evaluation], backfill_policy=dg.BackfillPolicy.single_run())
def exports() -> None:
    """What the check keeps back."""


CHECK = blocking.blocking_checks("evaluation", [no_fall])
KEY = dg.AssetCheckKey(dg.AssetKey("evaluation"), "no_fall")


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "none"))
    unchanged = SimpleNamespace(change_by_others=lambda *_: None)
    monkeypatch.setattr(blocking, "version_tracker", lambda *_: unchanged)
    FINDINGS.clear()
    with dagster_instance(load_settings({"home": (tmp_path, "test")}, environ={})) as opened:
        opened.add_dynamic_partitions(PARTITIONS_NAME, ["a", "b", "c"])
        yield opened


def run(instance: dg.DagsterInstance, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [evaluation, exports, CHECK],
        instance=instance,
        resources={"pipeline": SimpleNamespace(store=None)},
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first},
        raise_on_error=False,
    )


def gauge(state: StateCollector) -> dict[tuple[str, str], float]:
    """(collection, severity) to value."""
    [family] = [family for family in state.collect() if family.name == "rag_check_passed"]
    return {(sample.labels["collection"], sample.labels["severity"]): sample.value for sample in family.samples}


def state_of(instance: dg.DagsterInstance, known: Sequence[str] = ("a", "b", "c")) -> StateCollector:
    return StateCollector(instance, [KEY], lambda: known)


def shown(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [evaluated] = result.get_asset_check_evaluations()
    return evaluated


@pytest.mark.parametrize("restarted", [False, True])
def test_a_good_run_over_another_collection_clears_nothing(instance, restarted):
    state = state_of(instance)
    FINDINGS["a"] = Finding("error", "nDCG@10 fell")
    assert not run(instance, "a").success
    assert gauge(state) == {("a", "error"): 0}

    for name in ("b", "c", "b"):
        result = run(instance, name)
        assert result.success
        assert not shown(result).passed
        assert shown(result).severity == dg.AssetCheckSeverity.WARN
        assert shown(result).description == "a, in an earlier run: nDCG@10 fell"
        assert gauge(state_of(instance) if restarted else state)["a", "error"] == 0
        assert gauge(state)[name, "error"] == 1

    FINDINGS.clear()
    assert shown(run(instance, "a")).passed
    assert gauge(state) == {("a", "error"): 1, ("b", "error"): 1, ("c", "error"): 1}
    assert shown(run(instance, "b")).description is None


def test_many_good_runs_later_the_failure_still_shows(instance, monkeypatch):
    monkeypatch.setattr("embedder_assets.telemetry.check_results.RECENT", 2)
    monkeypatch.setattr("embedder_assets.telemetry.check_results.PAGE", 2)
    FINDINGS["a"] = Finding("error", "nDCG@10 fell")
    run(instance, "a")
    for _ in range(5):
        result = run(instance, "b")
    assert shown(result).description == "a, in an earlier run: nDCG@10 fell"
    assert gauge(state_of(instance)) == {("a", "error"): 0, ("b", "error"): 1}


def test_each_collection_has_its_own_result(instance):
    FINDINGS.update(
        a=Finding("error", "nDCG@10 fell"),
        b=Finding("warning", "an index is old"),
        c=Finding("note", "nothing to compare with"),
    )
    result = run(instance, "a", "c")
    assert not result.success
    assert shown(result).description == "a: nDCG@10 fell\nb: an index is old"
    assert gauge(state_of(instance)) == {("a", "error"): 0, ("b", "warn"): 0, ("c", "error"): 1}


def test_earlier_warning_stays_a_warning(instance):
    FINDINGS["b"] = Finding("warning", "an index is old")
    assert run(instance, "b").success
    result = run(instance, "a")
    assert (result.success, shown(result).description) == (True, "b, in an earlier run: an index is old")
    assert gauge(state_of(instance)) == {("a", "error"): 1, ("b", "warn"): 0}


def test_a_dropped_collection_has_no_result(instance):
    FINDINGS["a"] = Finding("error", "nDCG@10 fell")
    run(instance, "a")
    run(instance, "b")
    instance.delete_dynamic_partition(PARTITIONS_NAME, "a")
    assert shown(run(instance, "b")).passed
    assert gauge(state_of(instance, ["b", "c"])) == {("b", "error"): 1}


def test_deleting_the_run_that_failed_clears_nothing(instance):
    state = state_of(instance)
    FINDINGS["a"] = Finding("error", "nDCG@10 fell")
    failed = run(instance, "a")
    assert gauge(state)["a", "error"] == 0
    instance.delete_run(failed.run_id)
    assert run(instance, "b").success
    for each in (state, state_of(instance)):
        assert gauge(each) == {("a", "error"): 0, ("b", "error"): 1}


def test_late_end_of_earlier_run_counts(instance):
    """Dagster orders evaluations by when their run began."""
    state = state_of(instance)
    seen: list[dict[tuple[str, str], float]] = []

    def no_fall(pipeline: object, collection: str) -> Finding | None:
        if collection == "a":
            run(instance, "b")
            seen.append(gauge(state))
            return Finding("error", "nDCG@10 fell")
        return None

    check = blocking.blocking_checks("evaluation", [no_fall])
    dg.materialize(
        [evaluation, check],
        instance=instance,
        resources={"pipeline": SimpleNamespace(store=None)},
        tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "a"},
        raise_on_error=False,
    )
    assert seen == [{("b", "error"): 1}]
    assert gauge(state) == {("a", "error"): 0, ("b", "error"): 1}


@pytest.mark.parametrize("restarted", [False, True])
def test_slowest_run_of_queue_counts(instance, restarted):
    """Its evaluation is far behind those that are looked at first."""
    state = state_of(instance)

    def no_fall(pipeline: object, collection: str) -> Finding | None:
        for _ in range(RECENT + 2):
            run(instance, "b")
        gauge(state)
        return Finding("error", "nDCG@10 fell")

    dg.materialize(
        [evaluation, blocking.blocking_checks("evaluation", [no_fall])],
        instance=instance,
        resources={"pipeline": SimpleNamespace(store=None)},
        tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "a"},
        raise_on_error=False,
    )
    assert gauge(state_of(instance) if restarted else state)["a", "error"] == 0
    for _ in range(2):
        assert shown(run(instance, "b")).description == "a, in an earlier run: nDCG@10 fell"
    assert gauge(state_of(instance) if restarted else state)["a", "error"] == 0


def test_ended_runs_without_checks_are_not_awaited(instance):
    dead = instance.create_run_for_job(
        dg.Definitions(
            [evaluation], asset_checks=[CHECK], resources={"pipeline": SimpleNamespace(store=None)}
        ).resolve_implicit_global_asset_job_def(),
        tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "a"},
    )
    assert run(instance, "b").success
    assert check_results.DUE_SINCE_KEY in shown(run(instance, "b")).metadata
    instance.report_run_failed(dead)
    assert check_results.DUE_SINCE_KEY not in shown(run(instance, "b")).metadata


def test_wiped_log_has_no_result(instance):
    state = state_of(instance)
    run(instance, "a", "c")
    assert len(gauge(state)) == 3
    instance.wipe()
    assert gauge(state) == {}
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["a", "b", "c"])
    FINDINGS["b"] = Finding("error", "nDCG@10 fell")
    run(instance, "b")
    assert gauge(state) == {("b", "error"): 0}
