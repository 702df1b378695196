"""Lets something simpler stand in for a model that fails, and says why in one word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from embedder_assets.errors import (
    EmbedderError,
    InferenceError,
    ModelBuildError,
    ModelLoadError,
    TritonUnavailableError,
)

Result = TypeVar("Result")

# The word is a label of a metric, so there are few. A class comes before the class that it is a kind of.
REASONS: dict[type[EmbedderError], str] = {
    ModelBuildError: "model_unavailable",
    ModelLoadError: "model_unavailable",
    TritonUnavailableError: "triton_unavailable",
    InferenceError: "inference_failed",
}
MODEL_ERRORS = tuple(REASONS)


def fallback_reason(error: EmbedderError) -> str:
    """The one word for an error of a model: the first class of ``REASONS`` that it is of."""
    return next(word for kind, word in REASONS.items() if isinstance(error, kind))


@dataclass
class Fallback:
    """The permission to go on without a model, once.

    Attributes:
        allowed: What the setting says; where it is false, the model's error comes out.
        report: Given the reason (one word) and the message when something stood in.
        collection: Named in the message, if there is one.
        used: Whether something stood in.
    """

    allowed: bool
    report: Callable[[str, str], None]
    collection: str = ""
    used: bool = False

    def run_or_fall_back(self, work: Callable[[], Result], stand_in: Callable[[], Result]) -> Result:
        """The result of ``work``, or that of ``stand_in`` where a model fails.

        Raises:
            EmbedderError: The model failed and nothing may stand in, or ``stand_in`` failed too.
        """
        try:
            return work()
        except MODEL_ERRORS as error:
            if not self.allowed:
                raise
            result = stand_in()
            self.used = True
            self.report(fallback_reason(error), f"{self.collection}: {error}" if self.collection else str(error))
            return result
