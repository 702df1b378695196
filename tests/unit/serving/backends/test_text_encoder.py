"""The Triton backend outside Triton: how it opens a graph."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from embedder_assets.serving.backends.text_encoder import cpu_options
from embedder_assets.serving.models.onnx import cpu_session
from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.quantize import quantize_int8
from embedder_assets.settings import PROJECT_ROOT
from tests.support.checkpoints import write_checkpoint

MODEL = PROJECT_ROOT / "embedder_assets" / "serving" / "backends" / "text_encoder" / "model.py"


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", types.ModuleType("triton_python_backend_utils"))
    monkeypatch.syspath_prepend(MODEL.parent)
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


def test_slow_fusions_are_disabled_on_cpu(backend, graph, monkeypatch, tmp_path):
    opened = onnxruntime.InferenceSession

    def keep_optimized(path, options, **named):
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return opened(path, options, **named)

    def ops() -> set[str]:
        return {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}

    keep_optimized(str(graph), onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])
    assert {"SkipLayerNormalization", "BiasGelu"} <= ops()  # else ONNX Runtime needs no such option any more
    monkeypatch.setattr(onnxruntime, "InferenceSession", keep_optimized)
    backend.open_runtime(graph, "int8", "CPU", 1)
    assert not {"SkipLayerNormalization", "BiasGelu"} & ops()
    assert {"LayerNormalization", "Gelu"} <= ops()
    assert cpu_session.DISABLED_OPTIMIZERS == sys.modules["runtimes"].DISABLED_OPTIMIZERS


def test_bf16_without_openvino_names_the_remedy(backend, graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeError, match=r"OpenVINO cannot be imported .*`pip install openvino`.*cpu = \"int8\""):
        backend.open_runtime(graph, "bf16", "CPU", 2)


def test_openvino_reports_nothing_to_its_maker(tmp_path):
    code = "import sys, runtimes; print(runtimes.import_openvino().Core().available_devices, sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(MODEL.parent), "HOME": str(tmp_path)}
    # The reporter keeps an id of its client in the home folder.
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "CPU" in said.stdout
    assert "openvino_telemetry." not in said.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("capabilities", [["FP32", "BF16"], ["FP32"]])
def test_bf16_graph_answers_on_every_cpu(backend, graph, monkeypatch, capabilities):
    """Like ONNX Runtime in float32, with as many threads as there are; where the CPU has no bf16, in float32."""
    runtimes = sys.modules["runtimes"]
    plain = graph.with_name("plain.onnx")
    openvino = runtimes.import_openvino()
    real = openvino.Core

    class Core(real):
        def get_property(self, device, name):
            return capabilities if name == runtimes.CAPABILITIES else real.get_property(self, device, name)

    monkeypatch.setattr(openvino, "Core", Core)
    fast, exact = (backend.open_runtime(plain, precision, "CPU", 2) for precision in ("bf16", "fp32"))
    assert set(fast.inputs) == set(exact.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    rows = np.arange(2, 26).reshape(4, 6)
    feeds = {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: fast.run(["embedding"], feeds)[0], range(8)))
    (expected,) = exact.run(["embedding"], feeds)
    for answer in answers:
        np.testing.assert_allclose(
            (answer * expected).sum(axis=1), 1.0, atol=1e-5 if "BF16" not in capabilities else 1e-3
        )
    if "BF16" not in capabilities:
        np.testing.assert_allclose(answers[0], expected, atol=1e-5)


def test_first_openvino_call_is_made_alone(backend, graph, monkeypatch):
    """Two threads that make it at once wait for each other for good: three of 29 processes did."""
    callers = []
    openvino = sys.modules["runtimes"].import_openvino()
    infer = openvino.InferRequest.infer

    def noted(request, *arguments, **named):
        callers.append(threading.current_thread())
        return infer(request, *arguments, **named)

    monkeypatch.setattr(openvino.InferRequest, "infer", noted)
    backend.open_runtime(graph.with_name("plain.onnx"), "bf16", "CPU", 2)
    assert callers == [threading.current_thread()]


@pytest.mark.parametrize(
    ("workers", "texts", "sizes"),
    [(2, 64, [8] * 8), (2, 8, [4, 4]), (2, 1, [1]), (16, 64, [4] * 16), (16, 192, [6] * 32), (3, 20, [7, 7, 6])],
)
def test_bf16_batches_keep_all_threads_at_work(backend, workers, texts, sizes):
    model = backend.TritonPythonModel()
    model.micro_batch_size, model.workers = 8, workers
    model.runtime = types.SimpleNamespace(divides_batches=True)
    batches = list(model._micro_batches([[0] * (number % 7) for number in range(texts)]))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(row for batch in batches for row in batch) == list(range(texts))
    model.runtime = types.SimpleNamespace(divides_batches=False)
    assert max(len(batch) for batch in model._micro_batches([[0]] * texts)) == min(8, texts)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, 8),
        ({"pods/one": "max 100000"}, 8),
        ({"pods/one": "200000 100000"}, 2),
        ({"pods/one": "150000 100000"}, 2),
        ({"pods/one": "10000 100000"}, 1),
        ({"pods/one": "1600000 100000"}, 8),
        ({"pods/one": "400000 100000", "pods": "300000 100000"}, 3),
        ({"": "max 100000", "pods/other": "100000 100000"}, 8),
        ({"pods/one": "nonsense"}, 8),
    ],
)
def test_container_quota_limits_the_cores(backend, tmp_path, monkeypatch, quotas, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for folder, quota in quotas.items():
        (tmp_path / "cgroup" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / folder / "cpu.max").write_text(f"{quota}\n")
    (tmp_path / "own").write_text("3:cpuset:/elsewhere\n0::/pods/one\n")
    for module in (sys.modules[backend.cores.__module__], cpu_options):
        monkeypatch.setattr(module, "CGROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(module, "OWN", tmp_path / "own")
        assert module.cores() == expected
        (tmp_path / "none").write_text("3:cpuset:/elsewhere\n")
        for unknown in ("none", "missing"):
            monkeypatch.setattr(module, "OWN", tmp_path / unknown)
            assert module.cores() == 8


@pytest.mark.parametrize("changed", ["graph", "tokenizer", "fingerprint"])
def test_only_files_of_the_fingerprint_load(backend, tmp_path, changed):
    files = {name: tmp_path / name for name in ("graph", "tokenizer")}
    for name, path in files.items():
        path.write_text(name)
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    built = {"fingerprint": "f", "model_sha256": digests["graph"], "tokenizer_sha256": digests["tokenizer"]}
    record = tmp_path / "build.json"
    record.write_text(json.dumps(built))
    backend._require_built(record, "f", **files)
    if changed in files:
        files[changed].write_text("another")
    with pytest.raises(RuntimeError, match=r"says another .* `embedder models build`"):
        backend._require_built(record, "f" if changed in files else "g", **files)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_model_without_build_record_is_refused(backend, tmp_path, content):
    for name in ("graph", "tokenizer"):
        (tmp_path / name).touch()
    if content is not None:
        (tmp_path / "build.json").write_text(content)
    with pytest.raises(RuntimeError, match=r"cannot be read .* `embedder models build`"):
        backend._require_built(tmp_path / "build.json", "f", tmp_path / "graph", tmp_path / "tokenizer")
