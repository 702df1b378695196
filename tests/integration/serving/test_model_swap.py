"""A worse model in the place of a good one: compared first, refused at the swap, and taken on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import Embedder

COLLECTION = "triton-cookbook"
RUN = ("run", "--corpus", str(PROJECT / "examples" / "corpus"), "--collection", COLLECTION)


@pytest.fixture
def repository(embedder: Embedder, tmp_path: Path) -> dict[str, str]:
    """Settings with a repository that also has `dense_damaged`: the default one with a foolish query prefix."""
    folder = tmp_path / "repository"
    shutil.copytree(PROJECT / "model_repository", folder)
    shutil.copytree(folder / "dense_minilm", folder / "dense_damaged")
    description = folder / "dense_damaged" / "model.toml"
    text = description.read_text("utf-8").replace('name = "dense_minilm"', 'name = "dense_damaged"')
    prefix = "the bakery sells bread and cakes, the weather is fine, and the match ended in a draw. "
    description.write_text(f'query_prefix = "{prefix}"\n{text}', "utf-8")
    settings = {"EMBEDDER_MODEL_REPOSITORY": str(folder), "EMBEDDER_CORPUS_DIR": RUN[2]}
    built = embedder("models", "build", "dense_damaged", **settings)
    assert built.returncode == 0, built.stderr
    return settings


def models(home: Path) -> set[str]:
    return set(TableStore(home).read("dense_embeddings", COLLECTION)["model"])


def items_of_dense(home: Path) -> dict[str, int]:
    manifest = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    return manifest["dense_run"]["items"]  # type: ignore[no-any-return]


def test_damaged_dense_model_is_not_swapped_in(embedder: Embedder, home: Path, repository: dict[str, str]) -> None:
    assert embedder(*RUN, **repository).returncode == 0
    assert embedder("baseline", "accept", **repository).returncode == 0
    before = TableStore(home).read("dense_embeddings", COLLECTION).sort("chunk_id")

    compare = ("models", "compare", "dense_minilm", "dense_damaged", "--collection", COLLECTION)
    compared = embedder(*compare, "--json", **repository)
    assert compared.returncode == 0, compared.stderr
    found = json.loads(compared.stdout)
    dense = next(row for row in found["differences"] if (row["ranking"], row["measure"]) == ("dense", "nDCG@10"))
    assert dense["candidate"] < dense["current"] - 0.1
    assert dense["p_value"] < 0.01
    assert dense["worse"] > dense["better"]
    sparse = next(row for row in found["differences"] if (row["ranking"], row["measure"]) == ("sparse", "nDCG@10"))
    assert (sparse["current"], sparse["p_value"]) == (sparse["candidate"], 1.0)
    assert TableStore(home).read("dense_embeddings", COLLECTION).sort("chunk_id").equals(before)

    stopped = embedder(*RUN, **repository, EMBEDDER_DENSE_MODELS="dense_damaged")
    assert stopped.returncode == 1
    assert "model 'dense_damaged'" in stopped.stdout
    assert f"expected dense nDCG@10 of at least {dense['current']:.4f}" in stopped.stdout
    assert f"got {dense['candidate']:.4f} over 32 judged queries" in stopped.stdout
    assert TableStore(home).read("dense_embeddings", COLLECTION).sort("chunk_id").equals(before)
    assert embedder("search", "how do I unload a model", **repository).returncode == 0

    damaged = {**repository, "EMBEDDER_DENSE_MODELS": "dense_damaged"}
    gate_open = embedder(*RUN, **damaged, EMBEDDER_QUALITY_TOLERANCE="1")
    assert gate_open.returncode == 0, gate_open.stdout
    assert models(home) == {"dense_damaged"}
    # Compare had computed the vectors, and the stopped run kept them.
    assert items_of_dense(home) == {"reused": before.height}
    assert embedder("baseline", "accept", **damaged).returncode == 0
    assert embedder(*RUN, **damaged).returncode == 0


def test_compare_refuses_incomparable_models(embedder: Embedder, repository: dict[str, str]) -> None:
    two_stages = embedder("models", "compare", "dense_minilm", "sparse_splade", "--collection", COLLECTION)
    assert two_stages.returncode == 1
    assert "two models of one stage" in two_stages.stderr
    unknown = embedder("models", "compare", "dense_minilm", "dense_damaged", "--collection", "nope", **repository)
    assert unknown.returncode == 1
    assert "collection 'nope'" in unknown.stderr
