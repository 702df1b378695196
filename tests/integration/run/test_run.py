"""``embedder run`` as a process, on the real Triton: tables, footer, manifest, toggles, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import polars as pl
import pytest
from jsonschema import Draft202012Validator

from embedder_assets.serving.server.embedded import find_running
from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.manifest.json_schema import SCHEMA_FILE
from tests.support.command import BIN, Embedder, environment, write
from tests.support.processes import eventually, tritonservers_of

ALL_EMITTED = """\
Metrics emission summary:
  rag.dense: emitted (rag_dense_latency_seconds)
  rag.sparse: emitted (rag_sparse_latency_seconds)
  rag.rerank: emitted (rag_rerank_latency_seconds)
  rag.export: emitted (rag_export_latency_seconds)
  gpu_soft_limit: no_gpu
"""


def manifest_of(home: Path) -> dict:  # type: ignore[type-arg]
    """The newest manifest, validated against its published schema."""
    content = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    Draft202012Validator(json.loads((PROJECT_ROOT / SCHEMA_FILE).read_text("utf-8"))).validate(content)
    return content


def triton_logs(home: Path) -> list[Path]:
    return list((home / "triton" / "logs").glob("*")) if (home / "triton").exists() else []


def test_first_run_fills_tables_and_prints_footer(embedder: Embedder, home: Path, corpus: Path) -> None:
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0, result.stdout + result.stderr
    if not Path("/dev/nvidia0").exists():
        assert result.stdout.endswith(ALL_EMITTED)
    store = TableStore(home)
    for table in ("documents", "chunks", "dense_embeddings", "sparse_embeddings", "queries"):
        assert store.collections(table) == ["animals", "tools"], table
        assert list(pl.scan_delta(store.path(table)).collect_schema()) == list(SCHEMAS[table])
    assert store.read("queries", "animals").rows() == [("animals", "q1", "which animal purrs", "provided")]
    assert set(store.read("queries", "tools")["source"]) <= {"synthetic"}
    best = store.read("reranked_candidates", "animals").sort("rank").row(0, named=True)
    assert best["doc_id"] == "cat.md"
    assert tritonservers_of(home) == []


def test_the_manifest_says_what_the_tables_hold(embedder: Embedder, home: Path, corpus: Path) -> None:
    embedder("run", "--corpus", str(corpus))
    manifest = manifest_of(home)
    store = TableStore(home)
    chunk_count = sum(store.count("chunks", name) for name in ("animals", "tools"))
    assert manifest["schema_version"] == "v4.1"
    assert manifest["collections"] == ["animals", "tools"]
    assert manifest["chunk_count"] == chunk_count
    assert manifest["dense_run"]["items"] == {"computed": chunk_count, "reused": 0}
    assert set(manifest["telemetry"]["spans"]) == {
        f"rag.{name}" for name in ["chunk", "dense", "sparse", "fuse", "rerank", "export"]
    }
    spans = [json.loads(line) for line in (home / "runs" / manifest["run_id"] / "spans.jsonl").read_text().splitlines()]
    trace = manifest["run_id"].replace("-", "")
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{trace}"}
    assert (home / "runs" / manifest["run_id"] / "processing_summary.json").read_text() == (
        home / "runs" / "latest.json"
    ).read_text()


def test_second_run_computes_and_starts_nothing(embedder: Embedder, home: Path, corpus: Path) -> None:
    embedder("run", "--corpus", str(corpus))
    logs = triton_logs(home)
    versions = {path: len(list(path.glob("*.json"))) for path in (home / "tables").glob("*/_delta_log")}
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0
    assert "rag.dense: skipped (up to date, nothing to compute)" in result.stdout
    assert triton_logs(home) == logs
    assert {path: len(list(path.glob("*.json"))) for path in (home / "tables").glob("*/_delta_log")} == versions


def test_edits_and_deletions_touch_only_their_rows(embedder: Embedder, home: Path, corpus: Path) -> None:
    embedder("run", "--corpus", str(corpus))
    write(corpus / "animals" / "cat.md", "# The cat\n\nThe cat now sleeps all day long.\n")
    (corpus / "animals" / "whale.md").unlink()
    result = embedder("run", "--corpus", str(corpus), "--collection", "animals")
    assert result.returncode == 0, result.stdout
    assert manifest_of(home)["collections"] == ["animals"]
    assert manifest_of(home)["dense_run"]["items"]["computed"] == 1
    store = TableStore(home)
    ids = set(store.read("chunks", "animals")["chunk_id"])
    for table in ("dense_embeddings", "sparse_embeddings", "fused_candidates", "reranked_candidates"):
        assert set(store.read(table, "animals")["chunk_id"]) == ids, table
    exported = pl.read_parquet(home / "exports" / "animals" / "chunks.parquet")
    assert set(exported["doc_id"]) == {"cat.md"}
    assert store.count("dense_embeddings", "tools") == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "provenance"),
    [
        (["--disable-rerank", "--disable-sparse"], {}, "cli:--disable-{}"),
        ([], {"EMBEDDER_ENABLE_RERANK": "false", "EMBEDDER_ENABLE_SPARSE": "0"}, "env:EMBEDDER_ENABLE_{}"),
    ],
)
def test_disabled_stages_leave_only_a_reason(
    embedder: Embedder,
    home: Path,
    corpus: Path,
    arguments: list[str],
    variables: dict[str, str],
    provenance: str,
) -> None:
    result = embedder("run", "--corpus", str(corpus), *arguments, **variables)
    assert result.returncode == 0, result.stdout
    for stage in ("rerank", "sparse"):
        word = provenance.format(stage if "cli" in provenance else stage.upper())
        assert f"  rag.{stage}: skipped (disabled via {word})\n" in result.stdout
    manifest = manifest_of(home)
    assert "rerank_run" not in manifest
    assert "sparse_run" not in manifest
    assert {"rag.rerank", "rag.sparse"}.isdisjoint(manifest["telemetry"]["spans"])
    store = TableStore(home)
    assert not store.exists("sparse_embeddings")
    assert not store.exists("reranked_candidates")
    assert store.read("fused_candidates", "animals")["sparse_rank"].null_count() == store.count(
        "fused_candidates", "animals"
    )


def test_disabled_stage_keeps_its_table(embedder: Embedder, home: Path, corpus: Path) -> None:
    embedder("run", "--corpus", str(corpus))
    before = TableStore(home).read("sparse_embeddings", "animals")
    result = embedder("run", "--corpus", str(corpus), "--disable-sparse")
    assert result.returncode == 0, result.stdout
    assert TableStore(home).read("sparse_embeddings", "animals").equals(before)


def test_unrecovered_triton_fails_without_half_table(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "large"
    rows = [
        {"_id": f"d{n}", "title": "", "text": f"Number {n}. " + f"Words about topic {n} and {n * 7}. " * 30}
        for n in range(700)
    ]
    write(corpus / "many" / "corpus.jsonl", "\n".join(map(json.dumps, rows)))
    run = subprocess.Popen(
        [str(BIN / "embedder"), "run", "--corpus", str(corpus)],
        env=environment(home, EMBEDDER_TRITON_RETRY_S="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    staging = home / "staging" / "dense_embeddings"
    assert eventually(lambda: any(staging.rglob("*.parquet")), 120)
    server = next(
        pid for pid in tritonservers_of(home) if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
    )
    os.kill(server, signal.SIGKILL)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "failed dense_embeddings: collection 'many': Triton at 127.0.0.1" in output
    assert "rag.dense: skipped" in output or "rag.dense: emitted" in output
    store = TableStore(home)
    assert store.count("dense_embeddings", "many") == 0
    kept = sum(pl.read_parquet(path).height for path in staging.rglob("*.parquet"))
    assert kept > 0
    again = embedder("run", "--corpus", str(corpus), "--disable-rerank", "--disable-sparse")
    assert again.returncode == 0, again.stdout
    assert store.count("dense_embeddings", "many") == store.count("chunks", "many")
    assert manifest_of(home)["dense_run"]["items"]["reused"] == kept
    assert not any(staging.rglob("*.parquet"))


def test_simultaneous_first_runs_share_the_work(home: Path, corpus: Path) -> None:
    command = [str(BIN / "embedder"), "run", "--corpus", str(corpus)]
    runs = [subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    store = TableStore(home)
    for table in ("dense_embeddings", "sparse_embeddings"):
        for name in ("animals", "tools"):
            assert store.count(table, name) == store.count("chunks", name), table
    manifests = [json.loads(path.read_text("utf-8")) for path in (home / "runs").glob("*/processing_summary.json")]
    assert sum(manifest["dense_run"]["items"].get("computed", 0) for manifest in manifests) == 3


def test_an_overtaken_run_ends_well_while_search_answers(embedder: Embedder, home: Path, corpus: Path) -> None:
    assert embedder("run", "--corpus", str(corpus)).returncode == 0
    command = [str(BIN / "embedder"), "run", "--corpus", str(corpus)]
    store, runs, warnings = TableStore(home), [], ""
    for number in range(2):
        before = store.newest("chunks").version()
        for name in ("cat", "seal", "whale"):
            write(corpus / "animals" / f"{name}.md", f"# The {name}\n\n" + f"The {name} purrs, version {number}. " * 60)
        runs.append(subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True))
        assert eventually(lambda before=before: store.newest("chunks").version() > before, 60)
        found = embedder("search", "an animal that purrs", "--top", "20", "--json")
        assert found.returncode == 0, found.stderr
        assert {hit["collection"] for hit in json.loads(found.stdout)} == {"animals", "tools"}
        warnings += found.stderr
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    for table in ("dense_embeddings", "sparse_embeddings"):
        assert store.count(table, "animals") == store.count("chunks", "animals"), table
    exported = pl.read_parquet(home / "exports" / "animals" / "chunks.parquet")
    assert sorted(exported["content_sha256"]) == sorted(store.read("chunks", "animals")["content_sha256"])
    assert all("version 1" in text for text in exported["text"])
    assert "warning: collection 'tools'" not in warnings


def test_a_killed_runner_leaves_no_server(home: Path, corpus: Path) -> None:
    run = subprocess.Popen(
        [str(BIN / "embedder"), "run", "--corpus", str(corpus)],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert eventually(lambda: bool(tritonservers_of(home)), 60)
    run.kill()
    run.wait()
    assert eventually(lambda: not tritonservers_of(home))


def test_run_uses_the_server_of_serve(embedder: Embedder, home: Path, corpus: Path) -> None:
    serve = subprocess.Popen([str(BIN / "embedder"), "serve"], env=environment(home), stdout=subprocess.PIPE, text=True)
    assert serve.stdout is not None
    serve.stdout.readline()
    try:
        assert find_running(home / "triton") is not None
        logs = triton_logs(home)
        result = embedder("run", "--corpus", str(corpus), "--disable-rerank")
        assert result.returncode == 0, result.stdout
        assert triton_logs(home) == logs
        assert serve.poll() is None
    finally:
        serve.terminate()
        serve.wait(30)


def test_search_finds_the_document_and_speaks_json(embedder: Embedder, home: Path, corpus: Path) -> None:
    embedder("run", "--corpus", str(corpus))
    found = embedder("search", "an animal that purrs", "--top", "2", "--json")
    assert found.returncode == 0, found.stderr
    hits = json.loads(found.stdout)
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert (hits[0]["collection"], hits[0]["doc_id"]) == ("animals", "cat.md")
    shown = embedder("search", "what drives nails", "--collection", "tools")
    assert "tools/deep/hammer.txt" in shown.stdout
    missing = embedder("search", "anything", "--collection", "planets")
    assert missing.returncode == 1
    assert "planets" in missing.stderr
    assert "animals, tools" in missing.stderr


def test_search_before_any_run_names_the_remedy(embedder: Embedder) -> None:
    result = embedder("search", "anything")
    assert result.returncode == 1
    assert "Run `embedder run` first" in result.stderr
