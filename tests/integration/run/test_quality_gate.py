"""The quality gate in real runs: what is accepted, what falls below it, and what the fall leaves untouched."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import Embedder

COLLECTION = "triton-cookbook"
JUDGED = 9
RUN = ("run", "--corpus", str(PROJECT / "examples" / "corpus"), "--collection", COLLECTION)


@pytest.fixture
def few_judged(tmp_path: Path) -> dict[str, str]:
    """Settings with a corpus of too few judged queries to learn from, or learning would undo the damage."""
    folder = tmp_path / "corpus" / COLLECTION
    shutil.copytree(PROJECT / "examples" / "corpus" / COLLECTION, folder)
    header, *lines = (folder / "qrels.tsv").read_text("utf-8").splitlines()
    kept = sorted({line.split("\t")[0] for line in lines})[:JUDGED]
    rows = [line for line in lines if line.split("\t")[0] in kept]
    (folder / "qrels.tsv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return {"EMBEDDER_CORPUS_DIR": str(folder.parent)}


@pytest.fixture
def damage(embedder: Embedder, tmp_path: Path) -> dict[str, str]:
    """Settings with a reranker that reads next to nothing and decides alone."""
    repository = tmp_path / "damaged"
    shutil.copytree(PROJECT / "model_repository", repository)
    toml = repository / "rerank_cross_encoder" / "model.toml"
    head = re.sub(r"max_tokens = \d+", "max_tokens = 8", toml.read_text("utf-8").split("[score]")[0])
    source = re.search(r"\[source\][^\[]*", toml.read_text("utf-8"))[0]
    head = head.replace(source, "")
    toml.write_text(f"{head}\n[score]\ncross_encoder = 100\nagreement = 0\n\n{source}", "utf-8")
    settings = {"EMBEDDER_MODEL_REPOSITORY": str(repository), "EMBEDDER_QUALITY_STRICT": "true"}
    built = embedder("models", "build", **settings)
    assert built.returncode == 0, built.stderr
    return settings


def exports_of(home: Path) -> dict[str, tuple[int, bytes]]:
    folder = home / "exports" / COLLECTION
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def versions_of(home: Path) -> dict[str, int]:
    """Commits of each table."""
    return {path.parent.name: len(list(path.glob("*.json"))) for path in (home / "tables").glob("*/_delta_log")}


def manifest_of(home: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((home / "runs" / "latest.json").read_text("utf-8"))


def evaluations(home: Path) -> int:
    return TableStore(home).read("evaluation", COLLECTION)["evaluated_at"].n_unique()


def failed_checks(stdout: str) -> list[str]:
    return [line.split()[2] for line in stdout.splitlines() if line.startswith("failed check ")]


def test_quality_gate_stops_a_damaged_ranking(
    embedder: Embedder, home: Path, few_judged: dict[str, str], damage: dict[str, str]
) -> None:
    run = ("run", "--collection", COLLECTION)
    good = embedder(*run, **few_judged)
    assert good.returncode == 0, good.stdout
    accepted = embedder(
        "baseline", "accept", "--collection", COLLECTION, "--note", "first", "--by", "ana", **few_judged
    )
    assert accepted.returncode == 0, accepted.stderr
    exports, versions = exports_of(home), versions_of(home)

    assert embedder(*run, **few_judged).returncode == 0
    assert versions_of(home) == versions

    damaged = embedder(*run, **few_judged, **damage)
    assert damaged.returncode == 1
    assert exports_of(home) == exports
    assert failed_checks(damaged.stdout) == ["final_not_below_best_part", "quality_not_below_baseline"]
    message = next(line for line in damaged.stdout.splitlines() if "quality_not_below_baseline" in line)
    failures = [line for line in manifest_of(home)["warnings"] if line.startswith("failed: ")]
    assert len(failures) == 2
    assert failures[1] == f"failed: {message.removeprefix('failed ')}"
    assert "DagsterAssetCheckFailedError" not in damaged.stdout
    earlier = manifest_of_first(home)["rankings"]["reranked"]["nDCG@10"]
    now = manifest_of(home)["evaluation"][COLLECTION]["rankings"]["reranked"]["nDCG@10"]
    assert f"{COLLECTION}: reranked nDCG@10 is {now:.4f} over {JUDGED} judged queries" in message
    assert f"has {earlier:.4f}, and EMBEDDER_QUALITY_TOLERANCE allows 0.02 less" in message
    assert message.split("Queries that lost most: ")[1].split(". Models")[0].count(" to ") == 3
    assert "dense_minilm " in message
    assert f"`embedder baseline accept --collection {COLLECTION}`" in message
    lines = damaged.stdout.strip().splitlines()
    assert lines[-6] == "Metrics emission summary:"
    assert lines[-2] == "  rag.export: skipped (the stage did not run)"
    assert manifest_of(home)["status"] == "failed"
    assert evaluations(home) == 2

    healed = embedder(*run, **few_judged)
    assert healed.returncode == 0, healed.stdout
    assert evaluations(home) == 3


def manifest_of_first(home: Path) -> dict:  # type: ignore[type-arg]
    """The evaluation in the manifest of the oldest run."""
    manifests = [json.loads(path.read_text("utf-8")) for path in home.glob("runs/*/processing_summary.json")]
    return min(manifests, key=lambda manifest: manifest["generated_at"])["evaluation"][COLLECTION]


def test_a_fall_that_is_accepted_on_purpose_passes(embedder: Embedder, home: Path) -> None:
    assert embedder(*RUN).returncode == 0
    assert embedder("baseline", "accept").returncode == 0
    exports = exports_of(home)
    shallow = {"EMBEDDER_CANDIDATE_DEPTH": "1"}
    assert failed_checks(embedder(*RUN, **shallow).stdout) == ["quality_not_below_baseline"]
    assert exports_of(home) == exports
    assert "(was " in embedder("baseline", "accept", "--note", "shallow on purpose").stdout
    result = embedder(*RUN, **shallow)
    assert result.returncode == 0, result.stdout
    assert exports_of(home) != exports
    assert "shallow on purpose" in embedder("baseline", "show").stdout
