"""The project's own backend, made to answer with what cannot be right. Triton runs it in the place of the real one."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

KIND = os.environ["TEST_GARBAGE"]


def real_backend():
    real = Path(os.environ["TEST_REAL_BACKEND"])
    # Where Triton has it for the real one.
    sys.path.append(str(real.parent))
    specification = importlib.util.spec_from_file_location("real_backend", real)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class TritonPythonModel(real_backend().TritonPythonModel):
    def _encode(self, texts):
        outputs = super()._encode(texts)
        name, spoil = GARBAGE[KIND]
        if name in outputs:
            outputs[name] = spoil(outputs[name])
        return outputs


def with_first(values, value):
    values = values.copy()
    values[0, 0] = value
    return values


GARBAGE = {
    "not a number": ("embedding", lambda values: with_first(values, np.nan)),
    "not of unit length": ("embedding", lambda values: values * 2),
    "another dimension": ("embedding", lambda values: np.ascontiguousarray(values[:, :7])),
    "a negative index": ("indices", lambda values: with_first(values, -5)),
    "a negative weight": ("values", lambda values: with_first(values, -1)),
}
