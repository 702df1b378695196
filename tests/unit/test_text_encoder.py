"""The Triton backend outside Triton: how it opens a graph."""

import importlib.util
import sys
import types
from pathlib import Path

import onnx
import onnxruntime
import pytest

from embedder_assets.serving import cpu_session
from embedder_assets.serving.bert_graph import BertConfig
from embedder_assets.serving.bert_onnx import build_bert_onnx
from embedder_assets.serving.precision import quantize_int8
from embedder_assets.settings import PROJECT_ROOT
from tests.unit.checkpoints import write_checkpoint

MODEL = PROJECT_ROOT / "embedder_assets" / "serving" / "backends" / "text_encoder" / "model.py"


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", types.ModuleType("triton_python_backend_utils"))
    spec = importlib.util.spec_from_file_location("text_encoder_model", MODEL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def graph(tmp_path) -> Path:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    config = BertConfig.from_file(checkpoint / "config.json")
    onnx.save(build_bert_onnx(checkpoint / "model.safetensors", config, "mean_pool"), tmp_path / "plain.onnx")
    quantize_int8(tmp_path / "plain.onnx", tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_the_slow_fusions_are_left_out_on_the_cpu(backend, graph, monkeypatch, tmp_path):
    opened = onnxruntime.InferenceSession

    def keep_optimized(path, options, **named):
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return opened(path, options, **named)

    def ops() -> set[str]:
        return {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}

    keep_optimized(str(graph), onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])
    assert {"SkipLayerNormalization", "BiasGelu"} <= ops()  # else ONNX Runtime no longer needs to be told
    monkeypatch.setattr(onnxruntime, "InferenceSession", keep_optimized)
    backend._session(graph, "CPU")
    assert not {"SkipLayerNormalization", "BiasGelu"} & ops()
    assert {"LayerNormalization", "Gelu"} <= ops()
    assert cpu_session.SLOW_ON_THE_CPU == backend.SLOW_ON_THE_CPU
