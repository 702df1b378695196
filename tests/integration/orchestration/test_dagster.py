"""The Dagster face: the command line, the code location, the event log, run configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from embedder_assets.definitions import defs
from embedder_assets.errors import InferenceError
from embedder_assets.resources import PipelineResource
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.rerank import RerankStage
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.event_log import records_of_run
from tests.conftest import PROJECT
from tests.support import loaded
from tests.support.command import BIN, environment, write

# Asks the daemon to try a run with a failed step again.
RETRY = "dagster/retry_on_asset_or_op_failure"
MATERIALIZE = ["asset", "materialize", "--select", "*", "-m", "embedder_assets.definitions"]


def materialize(*arguments: str, home: Path, corpus: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    variables = environment(home, EMBEDDER_CORPUS_DIR=str(corpus), **variables)
    return loaded.run(["dagster", *MATERIALIZE, *arguments], variables, home.parent, 240)


def dagster(*arguments: str, home: Path, corpus: Path) -> subprocess.CompletedProcess[str]:
    """The console script itself."""
    return subprocess.run(
        [str(BIN / "dagster"), *arguments],
        cwd=home.parent,
        env=environment(home, EMBEDDER_CORPUS_DIR=str(corpus)),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_materialize_prints_the_same_footer_last(home: Path, corpus: Path) -> None:
    result = dagster(*MATERIALIZE, "--partition", "animals", home=home, corpus=corpus)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.strip().splitlines()
    assert lines[-6] == "Metrics emission summary:"
    assert lines[-5] == "  rag.dense: emitted (rag_dense_latency_seconds)"
    assert lines[-1].startswith("  gpu_soft_limit: ")
    assert TableStore(home).collections("reranked_candidates") == ["animals"]


def test_materialize_obeys_toggles_of_the_environment(home: Path, corpus: Path) -> None:
    result = materialize("--partition", "tools", home=home, corpus=corpus, EMBEDDER_ENABLE_RERANK="false")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "  rag.rerank: skipped (disabled via env:EMBEDDER_ENABLE_RERANK)" in result.stdout
    assert not TableStore(home).exists("reranked_candidates")


def test_a_failing_stage_fails_the_command(home: Path, corpus: Path) -> None:
    away = {"EMBEDDER_TRITON_URL": "127.0.0.1:9", "EMBEDDER_TRITON_RETRY_S": "1"}
    result = materialize("--partition", "tools", home=home, corpus=corpus, **away)
    assert result.returncode != 0
    assert "Triton at 127.0.0.1:9" in result.stderr
    fell_back = "  rag.sparse: skipped (lexical fallback: triton_unavailable)\n"
    assert f"  rag.dense: skipped (the stage failed)\n{fell_back}" in result.stdout
    manifest = json.loads((home / "runs" / "latest.json").read_text())
    assert manifest["status"] == "failed"
    assert "Triton at 127.0.0.1:9" in manifest["dense_run"]["reason"]


def test_the_definitions_validate(home: Path, corpus: Path) -> None:
    result = dagster("definitions", "validate", "-m", "embedder_assets.definitions", home=home, corpus=corpus)
    assert result.returncode == 0, result.stderr[-2000:]
    workspace = dagster("definitions", "validate", "-w", str(PROJECT / "workspace.yaml"), home=home, corpus=corpus)
    assert workspace.returncode == 0, workspace.stderr[-2000:]


def test_loading_the_location_is_light(home: Path) -> None:
    heavy = [
        "torch",
        "transformers",
        "onnxruntime",
        "onnx",
        "tritonclient",
        "scipy",
        "docutils",
        "pypdfium2",
        "ir_measures",
    ]
    code = (
        "import sys, embedder_assets.definitions as d; d.defs.get_repository_def(); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=environment(home), capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
    assert not home.exists()


@pytest.fixture
def run_in_process(home: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs the job for one collection with a run configuration, as the launch pad does."""
    monkeypatch.setenv("EMBEDDER_HOME", str(home))
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(corpus))
    instance = dg.DagsterInstance.ephemeral()

    def run(collection: str, **config: object) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
        resource = dg.RunConfig(resources={"pipeline": PipelineResource(**config)})  # type: ignore[arg-type]
        job = defs.resolve_job_def("rag_tables")
        result = job.execute_in_process(
            run_config=resource, partition_key=collection, instance=instance, raise_on_error=False
        )
        return result, instance

    return run


def test_stage_disabled_in_run_config_is_not_materialized(run_in_process, capsys) -> None:  # type: ignore[no-untyped-def]
    result, instance = run_in_process("animals", enable_sparse=False, enable_rerank=False)
    assert result.success
    assert "  rag.sparse: skipped (disabled via run_config)" in capsys.readouterr().out
    materialized = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert "fused_candidates" in materialized
    assert {"sparse_embeddings", "reranked_candidates"}.isdisjoint(materialized)
    records = {record.stage: record.status for record in records_of_run(instance, result.run_id)}
    assert records == {"chunk": "ok", "dense": "ok", "sparse": "off", "fuse": "ok", "rerank": "off", "export": "ok"}


def test_materializations_carry_readable_metadata(run_in_process) -> None:  # type: ignore[no-untyped-def]
    result, _ = run_in_process("animals", enable_rerank=False)
    events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    assert {event.partition for event in events.values()} == {"animals"}
    dense = events["dense_embeddings"].materialization.metadata
    assert dense["dagster/row_count"].value == dense["computed"].value == 2
    assert dense["coverage_ratio"].value == 1.0
    preview = events["chunks"].materialization.metadata["preview"].value
    assert "cat.md" in {record.data["doc_id"] for record in preview.records}
    assert "data:image/svg+xml;base64," in events["chunks"].materialization.metadata["token_lengths"].value


def test_evaluation_numbers_are_plotted(run_in_process, corpus: Path) -> None:  # type: ignore[no-untyped-def]
    write(corpus / "animals" / "qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tcat.md\t1\n")
    result, _ = run_in_process("animals")
    assert result.success
    metadata = metadata_of(result, "evaluation")
    assert metadata["judged_queries"] == metadata["ndcg_at_10_fused"] == metadata["mrr_at_10_reranked"] == 1
    assert isinstance(metadata["ndcg_at_10_fused"], float)
    passed = {check.check_name: check for check in result.get_asset_check_evaluations() if check.passed}
    assert "no baseline is accepted" in passed["quality_not_below_baseline"].description
    assert passed["quality_not_below_baseline"].blocking
    fused, reranked = metadata_of(result, "fused_candidates"), metadata_of(result, "reranked_candidates")
    source = "default: 1 judged query, 10 are needed"
    assert (fused["dense_weight"], fused["dense_weight_source"]) == (DENSE_WEIGHT, source)
    assert reranked["weights_source"] == source
    assert {*map(type, (reranked["cross_encoder_weight"], reranked["agreement_weight"]))} == {float}


def test_collection_without_judgements_says_so(run_in_process) -> None:  # type: ignore[no-untyped-def]
    result, _ = run_in_process("tools", enable_rerank=False)
    assert result.success
    metadata = metadata_of(result, "evaluation")
    assert metadata["judged_queries"] == 0
    assert "qrels.tsv" in metadata["note"]


def test_fused_order_that_stands_has_no_weights(run_in_process, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def failing(*_: object) -> pl.DataFrame:
        raise InferenceError("the rerank model", expected="scores", got="none", remedy="Run again.")

    monkeypatch.setattr(RerankStage, "score", failing)
    result, _ = run_in_process("tools", enable_sparse=False)
    assert result.success
    reranked = metadata_of(result, "reranked_candidates")
    assert (reranked["fallback_used"], reranked["weights_source"]) == (True, "not used: the fused order stands")
    fused = metadata_of(result, "fused_candidates")
    assert fused["dense_weight_source"] == "not used: sparse is disabled via run_config"
    assert not {"cross_encoder_weight", "agreement_weight", "dense_weight"} & {*reranked, *fused}


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    return {name: value.value for name, value in events[asset].materialization.metadata.items()}


def test_a_failed_blocking_check_stops_what_comes_after(run_in_process, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    real = TableStore.batches

    def damaged(self: TableStore, table: str, collection: str, columns=None, **options):  # type: ignore[no-untyped-def]
        for rows in real(self, table, collection, columns, **options):
            spoil = table == "documents" and columns == ["doc_id", "text"]
            yield rows.with_columns(text=pl.lit("?") + pl.col("text")) if spoil else rows

    monkeypatch.setattr(TableStore, "batches", damaged)
    result, instance = run_in_process("animals")
    assert not result.success
    assert RETRY not in instance.get_run_by_id(result.run_id).tags, "it would fail again"
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["offsets_reproduce_text"]
    materialized = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert materialized == {"documents", "chunks"}


def test_failed_stage_is_recorded_and_outage_retried(run_in_process, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("EMBEDDER_TRITON_URL", "127.0.0.1:9")
    monkeypatch.setenv("EMBEDDER_TRITON_RETRY_S", "1")
    result, instance = run_in_process("tools")
    assert not result.success
    record = {record.stage: record for record in records_of_run(instance, result.run_id)}["dense"]
    assert record.status == "failed"
    assert "Triton at 127.0.0.1:9" in str(record.reason)
    assert instance.get_run_by_id(result.run_id).tags[RETRY] == "true"


def test_a_range_of_collections_is_one_run(home: Path, corpus: Path, tmp_path: Path) -> None:
    write(corpus / "zoo" / "zebra.md", "# The zebra\n\nIt has stripes.\n")
    result = materialize("--partition-range", "animals...zoo", home=home, corpus=corpus, EMBEDDER_ENABLE_RERANK="false")
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("Metrics emission summary:") == 1
    assert TableStore(home).collections("chunks") == ["animals", "tools", "zoo"]
