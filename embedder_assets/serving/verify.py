"""``embedder models verify``: every model's files, and its answers to known texts in Triton."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedder_assets.errors import EmbedderError
from embedder_assets.serving.build import inspect_models
from embedder_assets.serving.client import Outputs, Row
from embedder_assets.serving.models import ModelDescription
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings

QUESTION = "How do I unload a model from the inference server?"
ANSWER = "To unload a model, call the unload endpoint of the server; the model leaves memory a little later."
UNRELATED = "The bakery on the corner sells bread and cakes from six in the morning."


def verify_models(settings: Settings, session: TritonSession) -> Iterator[tuple[str, str | None]]:
    """Yields each model's name and what is wrong with it, or None.

    A model is right when its files have the digests of its build, Triton loads it, and it finds an answer closer to
    its question than an unrelated text.
    """
    for state in inspect_models(settings.model_repository):
        name = state.description.name
        if state.problem is not None:
            yield name, f"{state.problem}: run `embedder models build`"
            continue
        try:
            yield name, _judge(state.description, session)
        except EmbedderError as error:
            yield name, str(error)


def _judge(model: ModelDescription, session: TritonSession) -> str | None:
    texts = [QUESTION, ANSWER, UNRELATED]
    pairs: list[Row] = [(QUESTION, ANSWER), (QUESTION, UNRELATED)]
    rows: list[Row] = pairs if model.stage == "rerank" else [(text,) for text in texts]
    outputs = next(session.infer_many(model.name, [rows])).outputs
    related, unrelated = _similarities(model, outputs)
    if related <= unrelated:
        return f"it finds an unrelated text closer ({unrelated:.3f}) than the answer ({related:.3f})"
    return None


def _similarities(model: ModelDescription, outputs: Outputs) -> tuple[float, float]:
    if model.stage == "rerank":
        related, unrelated = outputs["score"].ravel()
    elif model.stage == "dense":
        question, answer, other = outputs["embedding"]
        related, unrelated = question @ answer, question @ other
    else:
        rows = [
            dict(zip(ids, weights, strict=True))
            for ids, weights in zip(outputs["indices"], outputs["values"], strict=True)
        ]
        related, unrelated = (
            np.sum([weight * other.get(term, 0.0) for term, weight in rows[0].items()]) for other in rows[1:]
        )
    return float(related), float(unrelated)
