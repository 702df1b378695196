"""A real Triton that runs out of memory, and one that breaks on a text: the run ends well and says what it did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from tests.support.command import Embedder, write

HERE = Path(__file__).parent
REAL_BACKEND = embedded.SERVING_FOLDER / "backends" / "text_encoder" / "model.py"
MEMORY = 5
POISON = "quagga"


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """One collection of 14 chunks with two queries; the third document has a word that no other text has."""
    folder = tmp_path / "corpus" / "animals"
    kinds = ["cat", "whale", POISON, "horse", "owl", "bee", "trout", "mole", "newt", "crow", "hare", "toad"]
    for number, name in enumerate(kinds):
        write(folder / f"{number:02}.md", f"# Animal {number}\n\nThe {name} is animal number {number} of this list.\n")
    write(
        folder / "queries.jsonl", '{"_id": "q1", "text": "animal number 3"}\n{"_id": "q2", "text": "which is an owl"}\n'
    )
    return folder.parent


@contextmanager
def triton(monkeypatch: pytest.MonkeyPatch, state: Path, *, memory: int = 1000, poison: str = "") -> Iterator[str]:
    """The gRPC address of a Triton with the test's backend in the place of ours."""
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "SERVING_FOLDER", HERE / "short_of_memory")
        patched.setenv("TEST_REAL_BACKEND", str(REAL_BACKEND))
        patched.setenv("TEST_MEMORY_ROWS", str(memory))
        patched.setenv("TEST_POISON", poison)
        with EmbeddedTriton(
            load_settings(environ={}).model_repository, state, access=ServerAccess(secret=None)
        ) as server:
            yield server.address.grpc


def manifest(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    return found


def spans(home: Path, run_id: str) -> str:
    return (home / "runs" / run_id / "spans.jsonl").read_text("utf-8")


def test_server_short_of_memory_completes_the_run(
    embedder: Embedder, home: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with triton(monkeypatch, tmp_path / "triton", memory=MEMORY) as url:
        result = embedder("run", "--corpus", str(animals), EMBEDDER_TRITON_URL=url)
    assert result.returncode == 0, result.stdout + result.stderr
    store = TableStore(home)
    chunks = store.count("chunks", "animals")
    assert chunks == 12
    for table in ("dense_embeddings", "sparse_embeddings"):
        assert set(store.read(table, "animals")["chunk_id"]) == set(store.read("chunks", "animals")["chunk_id"])
    assert store.read("reranked_candidates", "animals")["cross_encoder_score"].null_count() == 0
    halved = [each for each in manifest(home)["mitigations"] if each["kind"] == "batch_halved"]
    assert {each["stage"] for each in halved} == {"dense", "sparse", "rerank"}
    assert [each["batch_size"] for each in halved if each["stage"] == "dense"] == [6, 3]
    assert {each["reason"] for each in halved} == {"out_of_memory"}
    assert manifest(home)["dense_run"]["coverage"] == {"animals": 1.0}
    assert manifest(home)["dense_run"]["batch_size"] <= MEMORY


def test_failing_text_is_named_and_left_out(
    embedder: Embedder, home: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with triton(monkeypatch, tmp_path / "triton", poison=POISON) as url:
        result = embedder("run", "--corpus", str(animals), EMBEDDER_TRITON_URL=url)
        assert result.returncode == 0, result.stdout + result.stderr
        again = embedder("run", "--corpus", str(animals), EMBEDDER_TRITON_URL=url)
        assert again.returncode == 0, again.stdout + again.stderr
        search = embedder("search", "animal number 3", "--json", EMBEDDER_TRITON_URL=url)
        assert search.returncode == 0, search.stderr
    store = TableStore(home)
    chunks = store.read("chunks", "animals")
    (failed,) = [row["chunk_id"] for row in chunks.iter_rows(named=True) if POISON in row["text"]]
    for table in ("dense_embeddings", "sparse_embeddings"):
        assert set(store.read(table, "animals")["chunk_id"]) == set(chunks["chunk_id"]) - {failed}
    issues = store.read("inference_issues", "animals").sort("stage")
    assert issues.select("stage", "chunk_id").rows() == [("dense", failed), ("sparse", failed)]
    assert failed not in set(store.read("reranked_candidates", "animals")["chunk_id"])
    assert f"chunk {failed}" in result.stdout
    summary = manifest(home)
    assert summary["dense_run"]["items"] == {"computed": 0, "reused": 11, "failed": 1}
    assert [each["items"] for each in summary["mitigations"] if each["stage"] == "dense"] == [[failed]]
    assert summary["dense_run"]["coverage"] == {"animals": pytest.approx(11 / 12)}
    assert summary["warnings"] == ["animals: 2 times a model fails on a text, see inference_issues"]
    for telemetry in (json.dumps(summary["telemetry"]), spans(home, summary["run_id"])):
        assert POISON not in telemetry
        assert failed not in telemetry

    with triton(monkeypatch, tmp_path / "triton") as url:
        again = embedder("run", "--corpus", str(animals), EMBEDDER_TRITON_URL=url)
    assert again.returncode == 0, again.stdout + again.stderr
    assert manifest(home)["dense_run"]["items"] == {"computed": 1, "reused": 11}
    assert store.count("dense_embeddings", "animals") == store.count("sparse_embeddings", "animals") == 12
    assert store.count("inference_issues", "animals") == 0
    assert failed in set(store.read("reranked_candidates", "animals")["chunk_id"])
