"""The gauges of the present state, over real runs of small assets on a real instance."""

import tempfile
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from prometheus_client import CollectorRegistry

from embedder_assets.telemetry.check_results import RESULTS_KEY, CollectionResult, as_metadata
from embedder_assets.telemetry.exporter.live_state import GAUGES, StateCollector

COLLECTIONS = dg.StaticPartitionsDefinition(["kb", "other"])
NDCG = {"dense": 0.5, "reranked": 0.75}


class Numbers(dg.Config):
    rows: int = 3
    passed: bool = True


@dg.asset(partitions_def=COLLECTIONS)
def chunks(config: Numbers) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/row_count": config.rows, "preview": "text"})


@dg.asset(partitions_def=COLLECTIONS)
def evaluation() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={f"ndcg_at_10_{name}": value for name, value in NDCG.items()})


@dg.asset_check(asset=chunks)
def whole(context: dg.AssetCheckExecutionContext, config: Numbers) -> dg.AssetCheckResult:
    results = {context.run.tags["dagster/partition"]: CollectionResult(passed=config.passed, severity="warn")}
    return dg.AssetCheckResult(
        passed=config.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={RESULTS_KEY: as_metadata(results)},
    )


@dg.asset(partitions_def=COLLECTIONS)
def dense_embeddings(context: dg.AssetExecutionContext) -> None:
    """Looks at the gauges while it is in progress."""
    seen = gauges(context.instance)
    assert seen["rag_runs_in_progress"] == {(): 1}
    [(stage, start)] = seen["rag_stage_start_timestamp_seconds"].items()
    assert stage == ("dense",)
    assert 0 <= time.time() - start < 60


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        yield instance


def gauges(
    instance: dg.DagsterInstance, collector: StateCollector | None = None
) -> dict[str, dict[tuple[str, ...], float]]:
    """Name to label values to value."""
    registry = CollectorRegistry()
    registry.register(collector or StateCollector(instance, [whole.check_key], lambda: ["kb", "other"]))
    families = {family.name: family for family in registry.collect()}
    assert families.keys() == GAUGES.keys()
    return {
        name: {tuple(sample.labels[label] for label in GAUGES[name][1]): sample.value for sample in family.samples}
        for name, family in families.items()
    }


def run(instance: dg.DagsterInstance, *, collection: str = "kb", rows: int = 3, passed: bool = True) -> None:
    numbers = Numbers(rows=rows, passed=passed)
    assert dg.materialize(
        [chunks, evaluation, dense_embeddings, whole],
        instance=instance,
        partition_key=collection,
        run_config=dg.RunConfig({"chunks": numbers, "chunks_whole": numbers}),
    ).success


def test_fresh_instance_has_no_series(instance: dg.DagsterInstance) -> None:
    seen = gauges(instance)
    assert seen.pop("rag_runs_in_progress") == {(): 0}
    assert set(map(len, seen.values())) == {0}


def test_the_newest_materialization_and_evaluation_count(instance: dg.DagsterInstance) -> None:
    collector = StateCollector(instance, [whole.check_key], lambda: ["kb", "other"])
    run(instance, rows=3)
    run(instance, rows=2, collection="other")
    before = gauges(instance, collector)
    assert before["rag_table_rows"] == {("chunks", "kb"): 3, ("chunks", "other"): 2}
    passed = {("chunks", "whole", "warn", name): 1 for name in ("kb", "other")}
    assert before["rag_check_passed"] == passed
    assert before["rag_retrieval_ndcg_at_10"][("kb", "dense")] == 0.5
    assert len(before["rag_retrieval_ndcg_at_10"]) == 4
    assert before["rag_stage_start_timestamp_seconds"] == {}

    run(instance, rows=5, passed=False)
    for after in (gauges(instance, collector), gauges(instance)):
        assert after["rag_table_rows"] == {("chunks", "kb"): 5, ("chunks", "other"): 2}
        assert after["rag_check_passed"] == {**passed, ("chunks", "whole", "warn", "kb"): 0}


def test_a_collection_that_is_gone_has_no_series(instance: dg.DagsterInstance) -> None:
    run(instance)
    run(instance, collection="other")
    seen = gauges(instance, StateCollector(instance, [whole.check_key], lambda: ["kb"]))
    assert seen["rag_table_rows"].keys() == {("chunks", "kb")}
    assert {collection for collection, _ in seen["rag_retrieval_ndcg_at_10"]} == {"kb"}


def test_queued_run_is_not_in_progress(instance: dg.DagsterInstance) -> None:
    create_run_for_test(instance, "rag_tables", status=dg.DagsterRunStatus.NOT_STARTED)
    assert gauges(instance)["rag_runs_in_progress"] == {(): 0}
