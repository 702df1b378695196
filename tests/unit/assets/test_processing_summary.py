"""The links and tags by which a run, its trace and its manifest are found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from embedder_assets.assets.processing_summary import document_facts, issue_counts, run_links, tag_run
from embedder_assets.definitions import defs
from embedder_assets.resources import PipelineResource
from tests.support.corpora.folder import folder, read, row, store
from tests.support.factories import make_settings

__all__ = ["folder", "read", "store"]

RUN_ID = "6f1c0a52-3c1e-4f57-9a35-0123456789ab"
TRACE_ID = "6f1c0a523c1e4f579a350123456789ab"


def test_run_links_to_trace_manifest_and_dashboard(tmp_path: Path) -> None:
    addresses = {"trace": "http://t/trace/{trace_id}?x={y}", "dashboard": "http://g/d/rag"}
    links = run_links(make_settings(tmp_path, links=addresses), RUN_ID, tmp_path / "manifest.json")
    assert {name: value.value for name, value in links.items()} == {
        "trace_id": TRACE_ID,
        "manifest": str(tmp_path / "manifest.json"),
        "trace": f"http://t/trace/{TRACE_ID}?x={{y}}",
        "dashboard": "http://g/d/rag",
    }
    assert {*run_links(make_settings(tmp_path), RUN_ID, tmp_path)} == {"trace_id", "manifest"}


def test_retried_run_has_its_own_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        given = {"embedder/trace_id": "of the first", "embedder/manifest": "of the first"}
        run = instance.create_run_for_job(defs.resolve_job_def("rag_tables"), tags=given)
        PipelineResource().create_resource(SimpleNamespace(instance=instance, run=run, log=None))  # type: ignore[arg-type]
        tags = instance.get_run_by_id(run.run_id).tags
        assert tags["embedder/trace_id"] == run.run_id.replace("-", "")
        assert tags["embedder/manifest"] == str(tmp_path / "runs" / run.run_id / "processing_summary.json")


def test_run_is_found_by_trace_and_manifest(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(defs.resolve_job_def("maintenance"))
        tag_run(instance, run.run_id, tmp_path)
        found = instance.get_runs(dg.RunsFilter(tags={"embedder/manifest": str(tmp_path)}))
        assert [each.run_id.replace("-", "") for each in found] == [found[0].tags["embedder/trace_id"]]


def test_documents_are_counted(read, folder, store, tmp_path: Path) -> None:
    values = [{"year": 1}, {"year": 2}, {"year": "soon", "x": [[1]]}, {}]
    (folder / "corpus.jsonl").write_text("".join(row(str(at), metadata=each) for at, each in enumerate(values)) + "{")
    read()
    pipeline = SimpleNamespace(store=store)
    counts = {"documents": 4, "with_metadata": 3, "fields": 1, "conflicts": 1, "partial": 0}
    assert document_facts(pipeline, "kb") == counts
    assert issue_counts(pipeline, "kb", []) == {
        "documents could not be used": 1,
        "notices on metadata, see document_issues": 2,
    }


def test_damaged_tables_are_not_counted(read, folder, store) -> None:
    (folder / "a.md").write_text("one")
    read()
    next(store.path("documents").rglob("*.parquet")).write_bytes(b"PAR1")
    assert document_facts(SimpleNamespace(store=store), "kb") == {}
