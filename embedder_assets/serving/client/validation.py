"""Validation of answers: one that cannot be right is refused before anything of it is written.

The cause is the model and not a text, so it is an error of its own that stops the stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import WrongAnswerError
from embedder_assets.serving.client.grpc import Answer
from embedder_assets.serving.models.description import ModelDescription

_KINDS = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}


def validated(answers: Iterable[Answer], model: str, description: ModelDescription) -> Iterator[Answer]:
    """The answers of a model, each of the form that its description promises.

    Raises:
        WrongAnswerError: One is not: an output is missing or has another shape or type, or its numbers are not finite;
            an index of a sparse vector is negative.
    """
    for answer in answers:
        for name, (data_type, length) in description.outputs.items():
            _check(model, name, answer.outputs.get(name), (answer.rows, length), _KINDS[data_type])
        yield answer


def _check(model: str, name: str, values: NDArray[Any] | None, shape: tuple[int, int], kind: type) -> None:
    wanted = f"{np.dtype(kind).name} of shape {list(shape)}"
    if values is None:
        raise _wrong(model, name, wanted, "no such output")
    if values.shape != shape or values.dtype != kind:
        raise _wrong(model, name, wanted, f"{values.dtype.name} of shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise _wrong(model, name, "finite numbers", "some that are not")
    if name == "indices" and (values < 0).any():
        raise _wrong(model, name, "indices from 0 on", str(values.min()))


def _wrong(model: str, name: str, expected: str, got: str) -> WrongAnswerError:
    return WrongAnswerError(
        f"output '{name}' of model '{model}'",
        expected=expected,
        got=got,
        remedy="Nothing of it was written. Run `embedder models verify`, and serve the repository that "
        "`embedder models build` wrote.",
    )
