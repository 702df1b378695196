"""What computes a graph: ONNX Runtime, or OpenVINO for bfloat16 on the CPU. The backend knows one interface.

Imported inside Triton, where this folder is on the path: it imports nothing of the project but what lies next to it. A
model's process imports only its own runtime.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from cpu_options import DISABLED_OPTIMIZERS
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]

CAPABILITIES = "OPTIMIZATION_CAPABILITIES"


class Runtime(Protocol):
    """A graph that is ready to compute; several threads may call it at a time.

    Attributes:
        inputs: Names of the inputs that the graph has: an architecture without token types lacks one.
        divides_batches: Whether smaller micro-batches than configured may keep all threads at work. An int8 answer
            depends on the texts that it shares a call with too much for that.
    """

    inputs: set[str]
    divides_batches: bool

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[np.int64]]) -> Arrays:
        """The named outputs, each of shape [rows, …], of inputs of shape [rows, tokens]."""


def open_runtime(graph: Path, precision: str, instance_kind: str, workers: int) -> Runtime:
    """The runtime of a precision.

    Args:
        graph: The ONNX file; in bf16 that of float32.
        precision: Of the model's configuration.
        instance_kind: ``GPU`` or ``CPU``, as Triton says it.
        workers: Threads that will call it at a time.

    Raises:
        RuntimeError: The runtime, or the device, is not there.
    """
    if precision == "bf16":
        return OpenVino(graph, workers)
    return OnnxRuntime(graph, "CUDAExecutionProvider" if instance_kind == "GPU" else "CPUExecutionProvider")


class OnnxRuntime:
    """A session of ONNX Runtime, shared by the threads."""

    divides_batches = False

    def __init__(self, graph: Path, provider: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # One thread a micro-batch, several micro-batches at a time: no core waits inside an operator.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        disabled = DISABLED_OPTIMIZERS if provider == "CPUExecutionProvider" else []
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=[provider], disabled_optimizers=disabled
        )
        if provider not in self._session.get_providers():
            # The runtime itself would go on, on the CPU.
            raise RuntimeError(
                f"the model is configured for a GPU, and ONNX Runtime cannot use one: {provider} is not there"
            )
        self.inputs: set[str] = {item.name for item in self._session.get_inputs()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[np.int64]]) -> Arrays:
        """See ``Runtime``."""
        result: Arrays = self._session.run(list(outputs), dict(feeds))
        return result


class OpenVino:
    """A float32 graph that OpenVINO compiles for bfloat16: a stream and an infer request for each thread.

    On a CPU without bfloat16 it computes in float32: slower, and as near to what another CPU answers as bfloat16 is to
    float32.
    """

    divides_batches = True

    def __init__(self, graph: Path, workers: int) -> None:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise RuntimeError(
                f"the model is built in bf16, and its runtime OpenVINO cannot be imported ({error}): `pip install "
                'openvino` into the Python of this Triton, or set precision = { cpu = "int8" } in model.toml and run '
                "`embedder models build`"
            ) from error
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if "BF16" in core.get_property("CPU", CAPABILITIES) else "f32",
            "NUM_STREAMS": workers,
            "INFERENCE_NUM_THREADS": workers,
            # Bound to cores, the threads of two servers on one machine would wait for the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(core.read_model(graph), "CPU", options)
        self.inputs: set[str] = {port.any_name for port in self._compiled.inputs}
        self._of_thread = threading.local()
        # The first call initializes OpenVINO's bindings, and two threads that do so at once wait for each other for
        # good: one for the interpreter's lock, the other for the guard of a static variable (docs/adr/0033).
        self._request().infer({name: np.ones((1, 1), np.int64) for name in self.inputs})

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[np.int64]]) -> Arrays:
        """See ``Runtime``."""
        # The feeds live until the answer; the answer is copied, because the next call overwrites it.
        answer = self._request().infer(dict(feeds), share_inputs=True)
        return [answer[name] for name in outputs]

    def _request(self) -> Any:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        return self._of_thread.request


def import_openvino() -> Any:
    """The module ``openvino``, which otherwise reports each import to its maker over the internet.

    Raises:
        ImportError: It is not installed.
    """
    # Without its reporter it takes a stub that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino
