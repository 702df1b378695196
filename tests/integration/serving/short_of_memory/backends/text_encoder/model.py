"""The project's own backend, made to fail: it has no memory for large requests, and breaks on some texts.

Triton runs it in the place of the real one. It counts the rows of each request, because Triton computes waiting
requests together; it breaks on a text by raising, so that all requests that are computed with it fail too.
"""

import importlib.util
import os
import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils

MEMORY = int(os.environ["TEST_MEMORY_ROWS"])
POISON = os.environ["TEST_POISON"]


def real_backend():
    real = Path(os.environ["TEST_REAL_BACKEND"])
    # Where Triton has it for the real one.
    sys.path.append(str(real.parent))
    specification = importlib.util.spec_from_file_location("real_backend", real)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class TritonPythonModel(real_backend().TritonPythonModel):
    def execute(self, requests):
        rows = [self._texts(request) for request in requests]
        if POISON and any(POISON in text for texts in rows for row in texts for text in row):
            raise ValueError("a text that this model cannot read")
        fitting = [request for request, texts in zip(requests, rows, strict=True) if len(texts) <= MEMORY]
        answers = iter(super().execute(fitting))
        return [next(answers) if len(texts) <= MEMORY else out_of_memory() for texts in rows]


def out_of_memory():
    return pb_utils.InferenceResponse(error=pb_utils.TritonError("CUDA out of memory"))
