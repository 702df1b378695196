"""``embedder models tune``: measured in the real Triton, written on request, and nothing built anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embedder_assets.serving import tune
from embedder_assets.serving.backends.text_encoder.cpu_options import cores
from embedder_assets.serving.models.build import build_models, inspect_models
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.tune import Tuning, tune_model, write_tuning
from embedder_assets.settings import load_settings
from tests.support.checkpoints import write_checkpoint, write_description
from tests.support.command import Embedder

NAME = "small"
CORES = cores()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small sparse model, which is int8 on every CPU until somebody writes something else."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    write_description(tmp_path / "models", NAME, checkpoint, stage="sparse", pooling="splade_max", dimension=16)
    build_models(tmp_path / "models", lambda line: None)
    return tmp_path / "models"


def state(repository: Path) -> tuple[str | None, str]:
    (found,) = inspect_models(repository, names=[NAME])
    return found.problem, found.fingerprint


def test_each_precision_and_thread_count_is_measured(embedder: Embedder, repository: Path) -> None:
    before = (repository / NAME / "model.toml").read_bytes()
    found = embedder("models", "tune", NAME, "--seconds", "0.3", EMBEDDER_MODEL_REPOSITORY=str(repository))
    assert found.returncode == 0, found.stderr
    lines = re.findall(r"round (\d) of 3, (\w+) with (\d+) worker threads?: ([\d.]+) texts/s", found.stdout)
    measured = {(precision, int(threads)) for _, precision, threads, _ in lines}
    assert {("int8", 1), ("bf16", 1), ("int8", CORES), ("bf16", CORES)} <= measured
    assert len(lines) == 3 * len(measured)
    assert all(float(rate) > 0 for *_, rate in lines)
    assert f"{NAME}: texts/s: int8 with 1 worker thread " in " ".join(found.stdout.split())
    assert (repository / NAME / "model.toml").read_bytes() == before


def test_written_threads_keep_the_model(repository: Path) -> None:
    problem, fingerprint = state(repository)
    assert problem is None
    precision = load_description(repository / NAME).precision_on("cpu")
    for threads in (CORES + 1, 1):
        write_tuning(repository / NAME, Tuning(precision, threads), "cpu")
        assert load_description(repository / NAME).threads == threads
        assert state(repository) == (None, fingerprint)


def test_written_precision_is_built_next(repository: Path) -> None:
    """It is pinned in the description, above its tables; what is built stays until the next build."""
    config = (repository / NAME / "config.pbtxt").read_text("utf-8")
    write_tuning(repository / NAME, Tuning("fp32", 1), "cpu")
    described = load_description(repository / NAME)
    assert (described.precision.cpu, described.precision.gpu, described.threads) == ("fp32", "fp16", 1)
    assert "has changed since the build" in (state(repository)[0] or "")
    assert (repository / NAME / "config.pbtxt").read_text("utf-8") == config


def test_fastest_of_all_is_recommended(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"model_repository": (repository, "test")}, environ={})
    rates = {"int8": {1: 10.0, CORES: 30.0}, "bf16": {1: 20.0, CORES: 40.0}}
    monkeypatch.setattr(tune, "repository_in", lambda settings, description, precision, place: Path(precision))
    monkeypatch.setattr(
        tune,
        "_texts_per_second",
        lambda settings, place, name, threads, seconds: rates[place.name].get(threads, 25.0),
    )
    tuned = tune_model(settings, NAME, 1, lambda line: None)
    assert tuned.configured == Tuning("int8", CORES)
    assert tuned.best == Tuning("bf16", CORES)
    said: list[str] = []
    monkeypatch.setattr(tune, "has_openvino", lambda: False)
    assert tune_model(settings, NAME, 1, said.append).best == Tuning("int8", CORES)
    assert "`pip install openvino`" in said[0]


def test_precision_that_cannot_be_built_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"model_repository": (repository, "test")}, environ={})
    (repository.parent / "checkpoint" / "model.safetensors").unlink()
    monkeypatch.setattr(tune, "_texts_per_second", lambda settings, place, name, threads, seconds: 1.0)
    said: list[str] = []
    assert {tuning.precision for tuning in tune_model(settings, NAME, 1, said.append).rates} == {"int8"}
    assert "bf16 is not measured" in said[0]
    assert "model.safetensors" in said[0]


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({1: [9.0, 9.0, 9.0], 2: [10.0, 10.0, 10.0]}, 2),
        ({1: [10.4, 10.4, 10.4], 2: [10.0, 10.0, 10.0]}, 2),
        ({1: [12.0, 12.0, 9.9], 2: [10.0, 10.0, 10.0]}, 2),
        ({1: [12.0, 12.0, 10.1], 2: [10.0, 10.0, 10.0]}, 1),
    ],
    ids=["configured is the fastest", "too little", "not in each round", "faster"],
)
def test_only_a_clear_gain_is_chosen(rates: dict[int, list[float]], best: int) -> None:
    measured = {Tuning("int8", threads): each for threads, each in rates.items()}
    assert tune._best(measured, Tuning("int8", 2)) == Tuning("int8", best)


def test_server_of_others_is_not_measured(embedder: Embedder) -> None:
    found = embedder("models", "tune", EMBEDDER_TRITON_URL="127.0.0.1:8001")
    assert found.returncode == 1
    assert "expected the embedded Triton" in found.stderr
    assert "EMBEDDER_TRITON_URL=127.0.0.1:8001" in found.stderr


def test_unknown_model_is_named(embedder: Embedder) -> None:
    found = embedder("models", "tune", "sparse_slade")
    assert found.returncode == 1
    assert "Did you mean 'sparse_splade'?" in found.stderr
