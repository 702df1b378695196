"""``embedder models tune``: measured in the real Triton, written on request, and nothing built anew."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from embedder_assets.serving import tune
from embedder_assets.serving.backends.text_encoder.cpu_options import cores
from embedder_assets.serving.models.build import inspect_models
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.tune import tune_model, write_threads
from embedder_assets.settings import load_settings
from tests.support.command import Embedder

NAME = "sparse_splade"
CORES = cores()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the built models that a test may change."""
    copy = tmp_path / "models"
    shutil.copytree(load_settings(environ={}).model_repository / NAME, copy / NAME)
    return copy


def state(repository: Path) -> tuple[str | None, str]:
    (found,) = inspect_models(repository, names=[NAME])
    return found.problem, found.fingerprint


def test_every_thread_count_is_measured_separately(embedder: Embedder, repository: Path) -> None:
    before = (repository / NAME / "model.toml").read_bytes()
    found = embedder("models", "tune", NAME, "--seconds", "0.3", EMBEDDER_MODEL_REPOSITORY=str(repository))
    assert found.returncode == 0, found.stderr
    lines = re.findall(r"round (\d) of 3, (\d+) worker threads: ([\d.]+) texts/s", found.stdout)
    numbers = sorted({int(threads) for _, threads, _ in lines})
    assert numbers[0] == 1
    assert numbers[-1] == CORES
    assert len(lines) == 3 * len(numbers)
    assert all(float(rate) > 0 for *_, rate in lines)
    assert f"{NAME}: texts/s by worker threads 1: " in found.stdout
    assert (repository / NAME / "model.toml").read_bytes() == before


def test_written_threads_keep_the_model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, fingerprint = state(repository)
    assert problem is None
    for threads in (CORES + 1, 1):
        write_threads(repository, NAME, threads, "cpu")
        assert load_description(repository / NAME).threads == threads
        assert state(repository) == (None, fingerprint)
    settings = load_settings({"model_repository": (repository, "test")}, environ={})
    seen: list[int] = []
    rates = {1: 10.0, CORES: 30.0}
    monkeypatch.setattr(
        tune,
        "_texts_per_second",
        lambda settings, name, threads, seconds: seen.append(threads) or rates.get(threads, 20.0),
    )
    assert tune_model(settings, NAME, 1, lambda line: None).configured == 1
    assert tune_model(settings, NAME, 1, lambda line: None).best == CORES
    assert set(seen) >= {1, CORES}


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
    assert tune._best(rates, 2) == best


def test_server_of_others_is_not_measured(embedder: Embedder) -> None:
    found = embedder("models", "tune", EMBEDDER_TRITON_URL="127.0.0.1:8001")
    assert found.returncode == 1
    assert "expected the embedded Triton" in found.stderr
    assert "EMBEDDER_TRITON_URL=127.0.0.1:8001" in found.stderr


def test_unknown_model_is_named(embedder: Embedder) -> None:
    found = embedder("models", "tune", "sparse_slade")
    assert found.returncode == 1
    assert "Did you mean 'sparse_splade'?" in found.stderr
