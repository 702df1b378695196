"""A rerank and a sparse model that the real Triton cannot load: the run goes on, says so, and is mended by the next."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from embedder_assets.embedding.lexical import LEXICAL
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.event_log import records_of_run
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from tests.conftest import PROJECT
from tests.support.command import Embedder, instance_of

SPARSE, RERANK = "sparse_splade", "rerank_cross_encoder"
COMPUTED = ("sparse_embeddings", "fused_candidates", "reranked_candidates")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(PROJECT / "model_repository", folder)
    return folder


@pytest.fixture
def run(embedder: Embedder, corpus: Path, repository: Path) -> Callable[..., tuple[int, str]]:
    """Runs the corpus; returns the exit status and what was printed."""

    def run(**variables: str) -> tuple[int, str]:
        result = embedder("run", "--corpus", str(corpus), EMBEDDER_MODEL_REPOSITORY=str(repository), **variables)
        return result.returncode, result.stdout

    return run


@contextmanager
def damaged(repository: Path, *models: str) -> Iterator[None]:
    """Graphs that Triton cannot load, built so by their records; whole again afterwards."""
    kept = {}
    for model in models:
        graph, record = repository / model / "1" / "model.onnx", repository / model / "build.json"
        kept |= {file: file.read_bytes() for file in (graph, record)}
        graph.write_bytes(b"no graph")
        built = json.loads(record.read_text("utf-8"))
        record.write_text(json.dumps(built | {"model_sha256": hashlib.sha256(b"no graph").hexdigest()}), "utf-8")
    yield
    for file, content in kept.items():
        file.write_bytes(content)


def tables(home: Path) -> dict[str, list[pl.DataFrame]]:
    store = TableStore(home)
    return {
        table: [store.read(table, name).sort(pl.exclude(pl.List)) for name in ("animals", "tools")]
        for table in COMPUTED
    }


def assert_same_tables(home: Path, other: Path) -> None:
    for table, frames in tables(other).items():
        for mine, expected in zip(tables(home)[table], frames, strict=True):
            assert_frame_equal(mine, expected)


def manifest_of(home: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((home / "runs" / "latest.json").read_text("utf-8"))


def metrics_of(home: Path, run_id: str) -> Callable[..., float | None]:
    with instance_of(home) as instance:
        metrics = StageMetrics(CollectorRegistry())
        for record in records_of_run(instance, run_id):
            metrics.observe(record)
    return metrics.registry.get_sample_value


def test_unloadable_reranker_keeps_fused_order(
    run: Callable[..., tuple[int, str]], embedder: Embedder, home: Path, tmp_path: Path, repository: Path
) -> None:
    assert run(EMBEDDER_HOME=str(tmp_path / "undisturbed"))[0] == 0
    with damaged(repository, RERANK):
        status, output = run()
        assert status == 0, output
        assert "  rag.rerank: skipped (fallback: model_unavailable)\n" in output
        assert "  rag.sparse: emitted (rag_sparse_latency_seconds)\n" in output
        assert "warning rerank: the fused order stands in for the rerank model (model_unavailable): " in output
        rows = TableStore(home).read("reranked_candidates", "animals")
        assert rows["fallback_used"].all()
        assert rows["rank"].to_list() == rows["fused_rank"].to_list()
        assert (home / "exports" / "animals" / "reranked_candidates.parquet").exists()

        manifest = manifest_of(home)
        section = manifest["rerank_run"]
        assert (manifest["status"], section["status"]) == ("succeeded", "ok")
        assert (section["fallback_used"], section["fallback_reason"]) == (True, "model_unavailable")
        assert any(line.startswith("rerank: the fused order stands in") for line in manifest["warnings"])
        value = metrics_of(home, manifest["run_id"])
        assert value("rag_rerank_fallback_total", {"reason": "model_unavailable"}) == 1
        assert value("rag_rerank_latency_seconds_count") == 0

        settings = {"EMBEDDER_MODEL_REPOSITORY": str(repository)}
        found = embedder("search", "an animal that purrs", "--json", **settings)
        assert found.returncode == 0, found.stderr
        assert {hit["cross_encoder_score"] for hit in json.loads(found.stdout)} == {None}
        assert "warning: the fused order stands (model_unavailable): " in found.stderr
    status, output = run()
    assert status == 0, output
    assert "  rag.rerank: emitted (rag_rerank_latency_seconds)\n" in output
    assert "warning" not in output
    assert_same_tables(home, tmp_path / "undisturbed")


def test_unloadable_sparse_model_falls_back_to_lexical(
    run: Callable[..., tuple[int, str]], home: Path, tmp_path: Path, repository: Path
) -> None:
    assert run(EMBEDDER_HOME=str(tmp_path / "undisturbed"))[0] == 0
    with damaged(repository, SPARSE):
        status, output = run()
        assert status == 0, output
        assert "  rag.sparse: skipped (lexical fallback: model_unavailable)\n" in output
        assert "  rag.rerank: emitted (rag_rerank_latency_seconds)\n" in output
        assert "warning sparse: lexical vectors stand in for the sparse model (model_unavailable): " in output
        store = TableStore(home)
        rows = store.read("sparse_embeddings", "animals")
        assert set(rows.select("model", "source").rows()) == {(LEXICAL, LEXICAL)}
        assert set(rows["chunk_id"]) == set(store.read("chunks", "animals")["chunk_id"])
        assert store.read("fused_candidates", "animals")["sparse_rank"].drop_nulls().to_list()

        manifest = manifest_of(home)
        assert manifest["sparse_run"]["fallback_reason"] == "model_unavailable"
        assert manifest["sparse_run"]["coverage"] == {"animals": 0.0, "tools": 0.0}
        assert manifest["telemetry"]["spans"]["rag.fuse"]["attributes"]["fallback_used"] is True
        value = metrics_of(home, manifest["run_id"])
        assert value("rag_sparse_latency_seconds_count") == 0
        assert value("rag_sparse_coverage_ratio", {"collection": "animals"}) is None
    status, output = run()
    assert status == 0, output
    assert "  rag.sparse: emitted (rag_sparse_latency_seconds)\n" in output
    assert "warning" not in output
    assert_same_tables(home, tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("model", "others", "asset"),
    [(SPARSE, "rerank", "sparse_embeddings"), (RERANK, "sparse", "reranked_candidates")],
)
def test_without_fallback_the_models_error_fails_run(
    run: Callable[..., tuple[int, str]], home: Path, repository: Path, model: str, others: str, asset: str
) -> None:
    with damaged(repository, model):
        status, output = run(EMBEDDER_FALLBACK=others)
    assert status == 1
    assert f"failed {asset}: collection 'animals': loading model '{model}'" in output
    assert not TableStore(home).exists(asset)
    assert not (home / "exports").exists()


def test_missing_model_ends_the_run_early(embedder: Embedder, corpus: Path, home: Path) -> None:
    result = embedder("run", "--corpus", str(corpus), EMBEDDER_RERANK_MODEL="rerank_of_dreams")
    assert result.returncode == 1
    assert "setting 'rerank_model' (env:EMBEDDER_RERANK_MODEL): expected the rerank model rerank_cross" in result.stderr
    assert "got 'rerank_of_dreams', no such model" in result.stderr
    assert not (home / "tables").exists()
    assert not (home / "triton").exists()
