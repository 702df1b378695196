"""An ONNX session on the CPU as the backend opens it, for whoever compares with what Triton answers or how fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedder_assets.serving.backends.text_encoder.cpu_options import DISABLED_OPTIMIZERS

if TYPE_CHECKING:
    import onnxruntime


def open_session(graph: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU with this many threads inside an operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
    )
