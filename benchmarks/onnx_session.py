"""An ONNX session as the backend opens it, so that a bare loop is held back by nothing that Triton is spared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def open_session(graph: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU with this many threads inside an operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # As in serving/backends/text_encoder/model.py, which cannot be imported outside Triton.
    return onnxruntime.InferenceSession(
        str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
