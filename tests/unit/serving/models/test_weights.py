"""Weights of others: safetensors and ONNX only, with the digest that is pinned, and nothing that runs code."""

from __future__ import annotations

import ast
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.add import NewModel, add_model
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.checkpoint import PICKLES, read_checkpoint
from embedder_assets.serving.models.description import ShippedSource
from embedder_assets.serving.models.sources import sha256_of, verify_shipped
from tests.conftest import PROJECT
from tests.support.checkpoints import write_checkpoint, write_description, write_json, write_tokenizer

FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CODE = [path for folder in ("embedder_assets", "training") for path in sorted((PROJECT / folder).rglob("*.py"))]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("suffix", PICKLES)
def test_pickled_weights_are_refused_unread(tmp_path, checkpoint, suffix):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / f"pytorch_model{suffix}").write_bytes(pickle.dumps(Bomb(tmp_path / "harmed")))
    with pytest.raises(ModelBuildError, match=rf"got pytorch_model\{suffix}\. .*safetensors.* pickle may run code"):
        read_checkpoint(checkpoint)
    assert not (tmp_path / "harmed").exists()


def test_disguised_pickle_is_refused_unread(tmp_path, checkpoint):
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "harmed")))
    write_description(tmp_path / "repository", "mine", checkpoint)
    with pytest.raises(ModelBuildError, match="expected model weights as safetensors"):
        build_models(tmp_path / "repository", lambda line: None)
    assert not (tmp_path / "harmed").exists()


def test_file_is_no_checkpoint(tmp_path, checkpoint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (checkpoint / "pytorch_model.bin").touch()
    with pytest.raises(ModelBuildError, match=r"got a file\..*safetensors"):
        add_model(tmp_path / "repository", NewModel("mine", "dense", "checkpoint/pytorch_model.bin"))


def test_changed_pinned_weights_are_refused(tmp_path, checkpoint):
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        folder = write_description(tmp_path / "repository", "mine", checkpoint)
        before = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(before + b" ")
        with pytest.raises(ModelBuildError, match=rf"{name}\): expected SHA-256"):
            build_models(tmp_path / "repository", lambda line: None)
        assert not (folder / "1" / "model.onnx").exists()
        (checkpoint / name).write_bytes(before)


@pytest.mark.parametrize("path", ["../outside", "/etc", "0/../../outside"])
def test_modules_outside_the_checkpoint_are_refused(checkpoint, path):
    write_json(
        checkpoint / "modules.json",
        [{"type": "sentence_transformers.models.Transformer", "path": ""}, {"type": "P", "path": path}],
    )
    with pytest.raises(ModelBuildError, match="folders below its own"):
        read_checkpoint(checkpoint)


def graph(*, inner: bool, location: str) -> onnx.ModelProto:
    """A graph with a constant in another file, at the top or in the branch of a node."""
    constant = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    constant.external_data.add(key="location", value=location)
    said = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    part = helper.make_graph([helper.make_node("Identity", ["c"], ["y"])], "g", [], [said], [constant])
    if inner:
        switch = helper.make_tensor("s", TensorProto.BOOL, [], [True])
        node = helper.make_node("If", ["s"], ["y"], then_branch=part, else_branch=part)
        part = helper.make_graph([node], "outer", [], [said], [switch])
    return helper.make_model(part)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("location", ["../../secret.bin", "/etc/passwd", "weights.bin"])
def test_graph_with_external_data_is_refused(tmp_path, inner, location):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(graph(inner=inner, location=location).SerializeToString())
    with pytest.raises(ModelBuildError, match=rf"weights in the file '{location}'"):
        verify(tmp_path)


def test_self_contained_graph_passes(tmp_path):
    (tmp_path / "1").mkdir()
    os.link(PROJECT / "model_repository/rerank_cross_encoder/1/model.onnx", tmp_path / "1" / "model.onnx")
    verify(tmp_path)


def verify(folder: Path) -> None:
    write_tokenizer(folder / "tokenizer.json")
    digests = [sha256_of(folder / name) for name in ("1/model.onnx", "tokenizer.json")]
    verify_shipped("mine", ShippedSource(kind="shipped", sha256=digests[0], tokenizer_sha256=digests[1]), folder)


def test_no_code_reads_pickles():
    assert [f"{path.name}: {what}" for path in CODE for what in dangers(ast.parse(path.read_text("utf-8")))] == []


def test_code_scan_finds_pickle_readers():
    code = "import pickle\nfrom joblib import load\ntorch.load(x)\nf(allow_pickle=True)\nf(trust_remote_code=True)"
    assert len(list(dangers(ast.parse(code)))) == 5


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN:
            yield str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "torch.jit.load"}:
            yield ast.unparse(node.func)
        elif isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "trust_remote_code"}:
            yield from [node.arg] if ast.unparse(node.value) != "False" else []
