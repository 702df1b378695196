"""An ONNX session on the CPU as the backend opens it, for whoever compares with what Triton answers or how fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

# As in backends/text_encoder/model.py, which cannot be imported outside Triton. A fusion more or less changes the last
# bit of an answer.
SLOW_ON_THE_CPU = ["SkipLayerNormFusion", "BiasGeluFusion"]


def open_session(graph: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU with this many threads inside an operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_ON_THE_CPU
    )
