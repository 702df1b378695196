"""Two dense models side by side in the real Triton, and switching between them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.description import load_description
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from tests.support.command import BIN, Embedder, environment

FIRST, SECOND = "dense_minilm", "dense_short"
Run = Callable[..., dict]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default models, and the dense one once more under another name with half its token budget."""
    folder = tmp_path_factory.mktemp("models") / "repository"
    shutil.copytree(load_settings(environ={}).model_repository, folder)
    shutil.copytree(folder / FIRST, folder / SECOND)
    description = folder / SECOND / "model.toml"
    text = description.read_text("utf-8").replace(f'name = "{FIRST}"', f'name = "{SECOND}"')
    description.write_text(text.replace("max_tokens = 256", "max_tokens = 128"), "utf-8")
    assert load_description(folder / SECOND).max_tokens == 128
    assert build_models(folder, lambda line: None) == [SECOND]
    return folder


@pytest.fixture
def run(embedder: Embedder, home: Path, corpus: Path, repository: Path) -> Run:
    """Runs with some dense models and returns the manifest's section of the dense stage."""

    def run(models: Sequence[str], **variables: str) -> dict:  # type: ignore[type-arg]
        result = embedder("run", "--corpus", str(corpus), **variables_of(repository, models), **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        section: dict = json.loads((home / "runs" / "latest.json").read_text("utf-8"))["dense_run"]  # type: ignore[type-arg]
        return section

    return run


def variables_of(repository: Path, models: Sequence[str]) -> dict[str, str]:
    return {"EMBEDDER_MODEL_REPOSITORY": str(repository), "EMBEDDER_DENSE_MODELS": ",".join(models)}


def models_by_version(home: Path, collection: str) -> list[set[tuple[str, str]]]:
    """Names and fingerprints of the dense rows of a collection, at each version of the table."""
    path = TableStore(home).path("dense_embeddings")
    versions = (pl.read_delta(path, version=n) for n in range(DeltaTable(str(path)).version() + 1))
    return [set(rows.filter(collection=collection).select("model", "model_fingerprint").rows()) for rows in versions]


def test_switching_dense_models_back_computes_nothing(
    run: Run, embedder: Embedder, home: Path, repository: Path
) -> None:
    section = run([FIRST, SECOND])
    fingerprints = {name: load_description(repository / name).fingerprint("cpu") for name in (FIRST, SECOND)}
    assert (section["models_executed"], section["models"]) == ([FIRST, SECOND], fingerprints)
    store = TableStore(home)
    chunk_count = sum(store.count("chunks", name) for name in ("animals", "tools"))
    assert section["items"] == {"computed": 2 * chunk_count, "reused": 0}
    dense = store.read("dense_embeddings", "animals")
    assert dense.group_by("model").len().sort("model").rows() == [(FIRST, 2), (SECOND, 2)]
    fused = store.read("fused_candidates", "animals")
    assert fused["dense_ranks"].list.len().unique().to_list() == [2]
    assert fused["dense_ranks"].list.min().equals(fused["dense_rank"], check_names=False)
    exported = {path.name for path in (home / "exports" / "animals").glob("*.npz")}
    assert exported == {f"dense.{FIRST}.npz", f"dense.{SECOND}.npz"}
    found = embedder("search", "an animal that purrs", "--json", **variables_of(repository, [FIRST, SECOND]))
    assert json.loads(found.stdout)[0]["doc_id"] == "cat.md", found.stderr

    alone = run([SECOND])
    assert (alone["items"], alone["models"]) == ({"reused": chunk_count}, {SECOND: fingerprints[SECOND]})
    kept = store.read("dense_embeddings", "animals")
    assert kept.sort("chunk_id").equals(dense.filter(model=SECOND).sort("chunk_id"))
    assert {path.name for path in (home / "exports" / "animals").glob("*.npz")} == {"dense.npz"}


def test_replaced_model_swaps_in_one_commit(run: Run, home: Path, repository: Path) -> None:
    run([FIRST])
    before = TableStore(home).read("dense_embeddings", "animals")
    assert run([SECOND])["items"]["computed"] == 3
    versions = models_by_version(home, "animals")
    fingerprints = {name: load_description(repository / name).fingerprint("cpu") for name in (FIRST, SECOND)}
    states = [models for models in versions if models]
    assert states[0] == {(FIRST, fingerprints[FIRST])}
    assert states[-1] == {(SECOND, fingerprints[SECOND])}
    assert all(len(models) == 1 for models in states)
    after = TableStore(home).read("dense_embeddings", "animals").sort("content_sha256")
    # The texts are shorter than both budgets, so both models say the same of them.
    np.testing.assert_allclose(
        np.array(after["embedding"].to_list()),
        np.array(before.sort("content_sha256")["embedding"].to_list()),
        atol=1e-5,
    )


def test_smallest_token_budget_bounds_the_chunks(run: Run, corpus: Path, home: Path, repository: Path) -> None:
    (corpus / "tools" / "long.txt").write_text("Every word of a long text counts as a token. " * 80, "utf-8")
    run([FIRST])
    assert TableStore(home).read("chunks", "tools")["token_count"].max() > 128
    run([FIRST, SECOND])
    assert TableStore(home).read("chunks", "tools")["token_count"].max() <= 128


def test_query_with_invalid_utf8_is_refused(home: Path) -> None:
    command = [str(BIN / "embedder").encode(), b"search", b"caf\xe9"]
    result = subprocess.run(command, env=environment(home), capture_output=True)
    assert result.returncode == 2
    assert b"it is not valid UTF-8" in result.stderr
    assert b"Traceback" not in result.stderr
