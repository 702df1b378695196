"""Building models from a checkpoint on this machine, for both devices, without torch."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main
from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import build_each, build_models, inspect_models, require_built
from embedder_assets.serving.models.configured import require_models
from embedder_assets.serving.models.description import RECIPES, load_description
from embedder_assets.serving.models.golden import agreement, encode, graph_outputs, read_golden, write_golden
from embedder_assets.settings import load_settings
from tests.support.checkpoints import write_checkpoint, write_description, write_tokenizer

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
    monkeypatch.setattr("embedder_assets.serving.models.onnx.torch_export.has_torch", lambda: False)
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
def test_every_head_is_close_to_float32(repository, checkpoint, fields, device, least):
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


def test_model_is_rebuilt_for_another_device(repository, checkpoint):
    write_description(repository, "mine", checkpoint)
    for device, kind in (("cpu", "KIND_CPU"), ("gpu", "KIND_GPU"), ("cpu", "KIND_CPU")):
        assert build(repository, device=device) == ["mine"]
        assert build(repository, device=device) == []
        assert kind in (repository / "mine" / "config.pbtxt").read_text("utf-8")
        require_built(repository, "mine", device)
    (state,) = inspect_models(repository, device="gpu")
    assert state.problem == "the description, the device or the way of building has changed since the build"
    assert (state.precision, state.fingerprint) == ("fp16", state.description.fingerprint("gpu"))


def test_only_named_models_are_built(repository, checkpoint):
    for name in ("first", "second"):
        write_description(repository, name, checkpoint)
    assert build(repository, names=["second"]) == ["second"]
    assert build(repository) == ["first"]


def test_relative_path_starts_at_model_folder(repository):
    write_checkpoint(repository / "mine" / "checkpoint")
    folder = write_description(repository, "mine", repository / "mine" / "checkpoint")
    toml = (folder / "model.toml").read_text("utf-8")
    (folder / "model.toml").write_text(toml.replace(str(folder / "checkpoint"), "checkpoint"), "utf-8")
    assert load_description(folder).source.path == "checkpoint"
    assert build(repository) == ["mine"]


def test_only_matching_golden_values_are_kept(repository, checkpoint):
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


def test_chunk_budget_leaves_room_for_prefix(repository, checkpoint, tmp_path):
    write_description(repository, "plain", checkpoint)
    write_description(repository, "prefixed", checkpoint, query_prefix="query: ", passage_prefix="passage: ")
    build(repository)
    overrides = {"home": (tmp_path / "home", "test"), "model_repository": (repository, "test")}
    session = TritonSession(load_settings(overrides, environ={}))
    # "passage" and ":" are two words of the tokenizer.
    assert [session.max_tokens(name) for name in ("plain", "prefixed")] == [32, 30]


def test_list_shows_the_source(repository, checkpoint):
    write_description(repository, "mine", checkpoint)
    (state,) = inspect_models(repository)
    row = state.as_row()
    assert (row["source"], row["state"], row["precision"]) == (str(checkpoint), "model.onnx is missing", "int8")


# Digest of the nodes of every head's graph, for the recipe that made them.
NODES = {
    ("int8", 3): "03c6b3bb423f99c0",
    ("bf16", 1): "ba5f4ad4cd2e3839",
    ("fp16", 1): "8d0aecf63c8bea53",
    ("fp32", 1): "ba5f4ad4cd2e3839",
}


@pytest.mark.parametrize(("precision", "recipe"), NODES)
def test_changed_graph_needs_another_recipe(repository, checkpoint, precision, recipe):
    """Where this fails, raise the number of the precision in ``models.RECIPES`` and put the new digest here."""
    device = "gpu" if precision == "fp16" else "cpu"
    cpu = {"precision": {"cpu": "int8" if precision == "fp16" else precision}}
    for number, fields in enumerate(STAGES):
        write_description(repository, f"model_{number}", checkpoint, **fields, **cpu)
    build(repository, device=device)
    digest = hashlib.sha256()
    for path in sorted(repository.glob("*/1/model.onnx")):
        for node in onnx.load(path).graph.node:
            digest.update(node.SerializeToString(deterministic=True))
    assert (RECIPES[precision], digest.hexdigest()[:16]) == (recipe, NODES[precision, recipe])


# The precision that a build chooses

AMX, NO_AMX = frozenset({"amx_bf16"}), frozenset({"avx512_bf16"})


@pytest.fixture
def flags(monkeypatch):
    """Sets what the CPU can do."""

    def set_flags(flags: frozenset[str]) -> None:
        monkeypatch.setattr("embedder_assets.serving.models.build.cpu_flags", lambda: flags)

    monkeypatch.setattr("embedder_assets.serving.models.build.has_openvino", lambda: True)
    return set_flags


def chosen(repository: Path) -> tuple[str, str | None]:
    (state,) = inspect_models(repository)
    return state.precision, state.problem


@pytest.mark.parametrize(("here", "elsewhere", "expected"), [(AMX, NO_AMX, "bf16"), (NO_AMX, AMX, "int8")])
def test_choice_of_a_build_survives_other_cpus(repository, checkpoint, flags, here, elsewhere, expected):
    folder = write_description(repository, "mine", checkpoint)
    flags(here)
    build(repository)
    assert chosen(repository) == (expected, None)
    flags(elsewhere)
    assert build(repository) == []
    write_description(repository, "mine", checkpoint, query_prefix="query: ")
    assert build(repository) == ["mine"]
    assert chosen(repository) == (expected, None)
    (folder / "1" / "model.onnx").unlink()
    assert build(repository, device="gpu") == ["mine"]
    assert build(repository) == ["mine"]
    assert chosen(repository) == (expected, None)


def test_bf16_build_says_why_and_how(repository, checkpoint, flags):
    folder = write_description(repository, "mine", checkpoint)
    flags(AMX)
    lines: list[str] = []
    assert build_models(repository, lines.append) == ["mine"]
    assert any("mine: bf16: this CPU has AMX" in line for line in lines)
    config = (folder / "config.pbtxt").read_text("utf-8")
    for key, value in {"precision": "bf16", "micro_batch_size": "8"}.items():
        assert re.search(rf'key: "{key}"\s+value {{\s+string_value: "{value}"', config)


def test_earlier_build_is_chosen_for_once(repository, checkpoint, flags):
    """A build.json of before there was a choice: int8 stays as it is, and AMX builds anew."""
    folder = write_description(repository, "mine", checkpoint)
    flags(NO_AMX)
    for cpu, built in ((NO_AMX, []), (AMX, ["mine"])):
        build(repository)
        record = json.loads((folder / "build.json").read_text("utf-8"))
        assert record.pop("auto_precision") == "int8"
        (folder / "build.json").write_text(json.dumps(record), "utf-8")
        require_built(repository, "mine")
        flags(cpu)
        assert build(repository) == built
        assert json.loads((folder / "build.json").read_text("utf-8"))["auto_precision"] == chosen(repository)[0]


def test_shared_tables_are_int8_on_every_cpu(repository, checkpoint, flags):
    write_description(repository, "mine", checkpoint)
    flags(AMX)
    lines: list[str] = []
    assert build_each(repository, lines.append, shared_tables=True).built == ["mine"]
    assert chosen(repository) == ("int8", None)
    assert any("EMBEDDER_TABLES_URL" in line for line in lines)
    assert build_each(repository, lines.append, shared_tables=True).built == []


def test_own_choice_is_given_up_for_shared_tables(repository, checkpoint, flags, tmp_path):
    write_description(repository, "mine", checkpoint)
    flags(AMX)
    build(repository)
    variables = {"EMBEDDER_MODEL_REPOSITORY": str(repository), "EMBEDDER_DENSE_MODELS": "mine"}
    variables |= {"EMBEDDER_ENABLE_SPARSE": "false", "EMBEDDER_ENABLE_RERANK": "false"}
    require_models(load_settings(environ=variables))
    shared = variables | {"EMBEDDER_TABLES_URL": "s3://bucket/tables"}
    with pytest.raises(ModelBuildError, match=r"model 'mine'.*expected int8.*got bf16.*`embedder models build`"):
        require_models(load_settings(environ=shared))
    result = CliRunner().invoke(main, ["models", "build"], env=shared)
    assert "mine: building (int8 in place of bf16)" in result.output
    assert chosen(repository) == ("int8", None)
    require_models(load_settings(environ=shared))


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32"])
def test_pinned_precision_needs_no_choice(repository, checkpoint, flags, precision):
    folder = write_description(repository, "mine", checkpoint, precision={"cpu": precision})
    flags(AMX)
    for shared in (False, True):
        build_each(repository, lambda line: None, shared_tables=shared)
        assert chosen(repository) == (precision, None)
    assert "auto_precision" not in json.loads((folder / "build.json").read_text("utf-8"))


# A model that cannot be built


def test_failed_build_does_not_stop_others(repository, checkpoint, tmp_path):
    broken = write_checkpoint(tmp_path / "broken", id2label={"0": "no", "1": "yes"})
    write_description(repository, "a_broken", broken, stage="rerank", pooling="logit", dimension=1)
    (write_description(repository, "b_misspelt", checkpoint) / "model.toml").write_text("pooling = 'mean'\n", "utf-8")
    odd = write_description(repository, "c_odd", checkpoint)
    (odd / "1").write_text("no folder", "utf-8")
    write_description(repository, "d_whole", checkpoint)
    lines: list[str] = []
    outcome = build_each(repository, lines.append)
    assert outcome.built == ["d_whole"]
    assert list(outcome.failed) == ["a_broken", "b_misspelt", "c_odd"]
    assert [line for line in lines if line.startswith("a_broken: not built: model 'a_broken': expected a classifier")]
    with pytest.raises(ModelBuildError, match="a classifier with one logit"):
        build_models(repository, lines.append)
    states = {state.name: state for state in inspect_models(repository)}
    assert states["d_whole"].problem is None
    assert "model.toml" in states["b_misspelt"].problem
    assert states["b_misspelt"].as_row()["state"] == states["b_misspelt"].problem


def test_library_errors_become_model_errors(repository, checkpoint, monkeypatch):
    def quantize(source: Path, target: Path) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("embedder_assets.serving.models.build.quantize_int8", quantize)
    write_description(repository, "mine", checkpoint)
    with pytest.raises(ModelBuildError, match="model 'mine': expected a checkpoint that can be built, got IndexError"):
        build(repository)


@pytest.mark.parametrize(
    ("named", "dense", "status", "said"),
    [
        ((), "whole", 0, "not built: broken (no setting names it; `embedder models remove broken` takes it out)"),
        ((), "whole,broken", 1, "not built: broken"),
        (("broken",), "whole", 1, "not built: broken"),
        (("whole",), "broken", 0, "1 built"),
    ],
)
def test_only_required_models_fail_the_build(repository, checkpoint, named, dense, status, said):
    write_description(repository, "broken", checkpoint, dimension=31)
    write_description(repository, "whole", checkpoint)
    variables = {"EMBEDDER_MODEL_REPOSITORY": str(repository), "EMBEDDER_DENSE_MODELS": dense}
    variables |= {"EMBEDDER_ENABLE_SPARSE": "false", "EMBEDDER_ENABLE_RERANK": "false"}
    result = CliRunner().invoke(main, ["models", "build", *named], env=variables)
    assert (result.exit_code, said in result.output.splitlines()) == (status, True), result.output
    assert (repository / "whole" / "build.json").exists() == (named != ("broken",))


# A model whose files do not belong together any more


def _put(path: Path, content: str) -> None:
    path.write_text(content, "utf-8")


CHANGED = {
    "model.onnx": (lambda at: _put(at / "1" / "model.onnx", "x"), "model.onnx is not the file that was built"),
    "tokenizer": (lambda at: write_tokenizer(at / "tokenizer.json", lowercase=False), "tokenizer.json is not the file"),
    "config.pbtxt": (lambda at: _put(at / "config.pbtxt", "name: 'mine'"), "config.pbtxt differs"),
    "config.pbtxt in another encoding": (lambda at: (at / "config.pbtxt").write_bytes(b"\xff"), "config.pbtxt differs"),
    "build.json of another version": (lambda at: _put(at / "build.json", "{}"), "has changed since the build"),
    "build.json that is a list": (lambda at: _put(at / "build.json", "[]"), "build.json is damaged"),
    "build.json that is cut off": (lambda at: _put(at / "build.json", '{"finger'), "build.json is damaged"),
    "the prefix": (lambda at: _put(at / "model.toml", f'query_prefix = "q"\n{_toml(at)}'), "has changed since"),
    "the configuration": (
        lambda at: _put(at / "model.toml", _toml(at).replace(_pin(at), "0" * 64)),
        "has changed since",
    ),
}


def _toml(folder: Path) -> str:
    return (folder / "model.toml").read_text("utf-8")


def _pin(folder: Path) -> str:
    return load_description(folder).source.config_sha256


@pytest.mark.parametrize("what", CHANGED)
def test_file_of_another_build_is_detected(repository, checkpoint, what):
    change, problem = CHANGED[what]
    folder = write_description(repository, "mine", checkpoint)
    build(repository)
    change(folder)
    (state,) = inspect_models(repository)
    assert problem in (state.problem or "")
    with pytest.raises(ModelBuildError, match="models build"):
        require_built(repository, "mine")
