"""Building models from a checkpoint on this machine, for both devices, without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.serving.build import build_models, inspect_models, require_built
from embedder_assets.serving.golden import agreement, encode, graph_outputs, read_golden, write_golden
from embedder_assets.serving.models import load_description
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import load_settings
from tests.unit.checkpoints import write_checkpoint, write_description

STAGES = [
    {},
    {"pooling": "cls", "query_prefix": "query: ", "passage_prefix": "passage: "},
    {"pooling": "last_token"},
    {"stage": "sparse", "pooling": "splade_max", "dimension": 16},
    {"stage": "rerank", "pooling": "logit", "dimension": 1},
    {"stage": "rerank", "pooling": "interaction", "dimension": 1},
]


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder_assets.serving.export_torch.has_torch", lambda: False)
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def build(repository: Path, **arguments) -> list[str]:
    return build_models(repository, lambda line: None, **arguments)


@pytest.mark.parametrize("fields", STAGES, ids=lambda fields: fields.get("pooling", "mean"))
@pytest.mark.parametrize(("device", "least"), [("cpu", 0.9), ("gpu", 0.999)])
def test_every_head_is_built_close_to_its_float32_graph(repository, checkpoint, fields, device, least):
    folder = write_description(repository, "mine", checkpoint, **fields)
    assert build(repository, device=device) == ["mine"]
    description = load_description(folder)
    golden = read_golden(folder, description)
    assert golden is not None
    assert not golden.of_framework
    feeds = list(encode(folder / "tokenizer.json", description))
    outputs = graph_outputs(folder / "1" / "model.onnx", feeds)
    assert {name: values.shape for name, values in outputs.items()} == {
        name: (len(feeds), length) for name, (_, length) in description.outputs.items()
    }
    assert agreement(description.stage, outputs, golden.outputs) > least
    if description.stage == "dense":
        np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1.0, atol=1e-5)


def test_a_model_is_built_anew_for_another_device_and_back(repository, checkpoint):
    write_description(repository, "mine", checkpoint)
    for device, kind in (("cpu", "KIND_CPU"), ("gpu", "KIND_GPU"), ("cpu", "KIND_CPU")):
        assert build(repository, device=device) == ["mine"]
        assert build(repository, device=device) == []
        assert kind in (repository / "mine" / "config.pbtxt").read_text("utf-8")
        require_built(repository, "mine", device)
    (state,) = inspect_models(repository, device="gpu")
    assert state.problem == "the description, the device or the way of building has changed since the build"
    assert (state.precision, state.fingerprint) == ("fp16", state.description.fingerprint("gpu"))


def test_only_the_named_models_are_built(repository, checkpoint):
    for name in ("first", "second"):
        write_description(repository, name, checkpoint)
    assert build(repository, names=["second"]) == ["second"]
    assert build(repository) == ["first"]


def test_a_relative_path_counts_from_the_model_folder(repository):
    write_checkpoint(repository / "mine" / "checkpoint")
    folder = write_description(repository, "mine", repository / "mine" / "checkpoint")
    toml = (folder / "model.toml").read_text("utf-8")
    (folder / "model.toml").write_text(toml.replace(str(folder / "checkpoint"), "checkpoint"), "utf-8")
    assert load_description(folder).source.path == "checkpoint"
    assert build(repository) == ["mine"]


def test_golden_values_of_the_framework_are_kept_and_those_of_another_model_are_not(repository, checkpoint):
    folder = write_description(repository, "mine", checkpoint)
    description = load_description(folder)
    write_golden(folder, description, "transformers 5", {"embedding": np.eye(6, 32)})
    build(repository)
    golden = read_golden(folder, description)
    assert golden is not None
    assert golden.reference == "transformers 5"
    write_description(repository, "mine", checkpoint, pooling="cls")
    assert read_golden(folder, load_description(folder)) is None
    build(repository)
    golden = read_golden(folder, load_description(folder))
    assert golden is not None
    assert not golden.of_framework


def test_the_chunk_budget_leaves_room_for_the_passage_prefix(repository, checkpoint, tmp_path):
    write_description(repository, "plain", checkpoint)
    write_description(repository, "prefixed", checkpoint, query_prefix="query: ", passage_prefix="passage: ")
    build(repository)
    overrides = {"home": (tmp_path / "home", "test"), "model_repository": (repository, "test")}
    session = TritonSession(load_settings(overrides, environ={}))
    # "passage" and ":" are two words of the tokenizer.
    assert [session.max_tokens(name) for name in ("plain", "prefixed")] == [32, 30]


def test_a_row_of_the_list_says_where_a_model_is_from(repository, checkpoint):
    write_description(repository, "mine", checkpoint)
    (state,) = inspect_models(repository)
    row = state.as_row()
    assert (row["source"], row["state"], row["precision"]) == (str(checkpoint), "model.onnx is missing", "int8")
