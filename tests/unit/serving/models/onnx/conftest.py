"""The weights of a tiny BERT, for the tests of this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.checkpoints import random_weights
from tests.support.tiny_bert import CONFIG


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return random_weights(CONFIG)


@pytest.fixture
def saved(weights: dict[str, np.ndarray], tmp_path: Path) -> Path:
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"
