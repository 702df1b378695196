"""Rerank x sparse, set in each of the four places, in real runs: everything that a run leaves agrees."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedder_assets.tables.store import TableStore
from tests.support import loaded
from tests.support.command import environment, write
from tests.support.processes import free_port
from tests.support.servers.served import served

TOGGLES = {"rerank": "enable_rerank", "sparse": "enable_sparse"}
TABLES = {"rerank": "reranked_candidates", "sparse": "sparse_embeddings"}
SOURCES = ["command line", "environment", "file", "run config"]
PROVENANCE = {
    "command line": "cli:--disable-{stage}",
    "environment": "env:EMBEDDER_ENABLE_{STAGE}",
    "file": "file:embedder.toml",
    "run config": "run_config",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Triton for all runs of this file, which have other homes; the variables that name it."""
    home = tmp_path_factory.mktemp("server")
    with served(home) as address:
        yield {"EMBEDDER_TRITON_URL": address.grpc, "EMBEDDER_TRITON_SECRET_FILE": str(home / "triton" / "secret")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, server: dict[str, str]) -> Path:
    """A folder with a corpus and a home in which every stage has run once."""
    folder = tmp_path_factory.mktemp("filled")
    write(folder / "corpus" / "animals" / "cat.md", "# The cat\n\nThe cat is a small predator that purrs.\n")
    write(folder / "corpus" / "animals" / "whale.md", "# The whale\n\nThe whale lives in the sea.\n")
    result = launch(folder, "environment", server, [])
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def launch(folder: Path, source: str, server: dict[str, str], off: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs everything with some stages switched off in one of the four places."""
    variables = {
        **server,
        "EMBEDDER_CORPUS_DIR": str(folder / "corpus"),
        "EMBEDDER_METRICS_PORT": str(free_port()),
        "DAGSTER_HOME": str(folder / "home" / "dagster"),
    }
    command = ["embedder", "run"]
    (folder / "embedder.toml").unlink(missing_ok=True)
    if source == "command line":
        command += [f"--disable-{stage}" for stage in off]
    elif source == "environment":
        variables |= {f"EMBEDDER_{TOGGLES[stage].upper()}": "false" for stage in off}
    elif source == "file":
        write(folder / "embedder.toml", "".join(f"{TOGGLES[stage]} = false\n" for stage in off))
    else:
        config = {"resources": {"pipeline": {"config": {TOGGLES[stage]: False for stage in off}}}}
        write(folder / "config.yaml", yaml.safe_dump(config))
        command = ["dagster", "asset", "materialize", "--select", "*", "-m", "embedder_assets.definitions"]
        command += ["--partition", "animals", "--config", str(folder / "config.yaml")]
    return loaded.run(command, environment(folder / "home", **variables), folder, 240)


def left_behind(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """The newest manifest, and the names of the run's spans."""
    manifest = json.loads((folder / "home" / "runs" / "latest.json").read_text("utf-8"))
    lines = (folder / "home" / "runs" / manifest["run_id"] / "spans.jsonl").read_text("utf-8").splitlines()
    return manifest, {json.loads(line)["name"] for line in lines} - {"rag.run", "rag.request"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("off", [[], ["rerank"], ["sparse"], ["rerank", "sparse"]], ids="+".join)
def test_outputs_of_a_run_follow_its_toggles(filled: Path, server: dict[str, str], source: str, off: list[str]) -> None:
    text = f"# The {'-'.join(off)}\n\nA new animal that {source} adds and {len(off)} describe.\n"
    write(filled / "corpus" / "animals" / "new.md", text)
    store = TableStore(filled / "home")
    before = {stage: store.read(TABLES[stage], "animals") for stage in off}

    result = launch(filled, source, server, off)

    assert result.returncode == 0, result.stdout + result.stderr
    manifest, spans = left_behind(filled)
    lines = result.stdout[result.stdout.index("Metrics emission summary:") :].splitlines()
    assert spans == {f"rag.{stage}" for stage in ("chunk", "dense", "sparse", "fuse", "rerank", "export")} - {
        f"rag.{stage}" for stage in off
    }
    for stage, toggle in TOGGLES.items():
        metric, status = f"rag_{stage}_latency_seconds", manifest["telemetry"]["metrics"][stage]
        if stage in off:
            provenance = PROVENANCE[source].format(stage=stage, STAGE=stage.upper())
            assert manifest["feature_toggles"][toggle] == {"value": False, "provenance": provenance}
            assert f"{stage}_run" not in manifest
            assert status == {
                "status": "skipped",
                "metric": metric,
                "reason": f"disabled via {provenance}",
                "samples": 0,
                "scrape": "not_expected",
            }
            assert f"  rag.{stage}: skipped (disabled via {provenance})" in lines
            assert store.read(TABLES[stage], "animals").equals(before[stage])
            assert before[stage].height
        else:
            assert manifest["feature_toggles"][toggle] == {"value": True, "provenance": "default"}
            batches = manifest[f"{stage}_run"]["batches"]
            assert (status["status"], status["samples"], status["scrape"]) == ("emitted", batches, "complete")
            assert batches > 0
            assert f"  rag.{stage}: emitted ({metric})" in lines
    assert "  rag.dense: emitted (rag_dense_latency_seconds)" in lines
