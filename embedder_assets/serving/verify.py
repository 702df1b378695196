"""``embedder models verify``: every model's files, and its answers in Triton against those of its reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder_assets.errors import EmbedderError
from embedder_assets.serving.client.grpc import Outputs, Row
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import inspect_models
from embedder_assets.serving.models.description import ModelDescription, Stage
from embedder_assets.serving.models.golden import LEAST_AGREEMENT, agreement, golden_rows, read_golden, vectors
from embedder_assets.settings import Settings


@dataclass(frozen=True)
class VerifyResult:
    """What was found about one model.

    Attributes:
        problem: Why it must not be used, or None.
        figure: How close its answers come to the reference, and the reference; empty when it was not asked.
    """

    name: str
    problem: str | None
    figure: str = ""


def verify_models(settings: Settings, session: TritonSession, names: Sequence[str] = ()) -> Iterator[VerifyResult]:
    """Verifies every model, or the named ones.

    A model is right when its files have the digests of its build, Triton loads it, and its answers agree with the
    golden values next to it. Without golden values it has to find an answer closer to its question than another text.
    """
    for state in inspect_models(settings.model_repository, names=names, device=settings.device):
        name = state.name
        if state.description is None:
            yield VerifyResult(name, state.problem)
            continue
        if state.problem is not None:
            yield VerifyResult(name, f"{state.problem}: run `embedder models build`")
            continue
        try:
            yield _compare_answers(state.description, settings.model_repository / name, session)
        except EmbedderError as error:
            yield VerifyResult(name, str(error))


def _compare_answers(model: ModelDescription, folder: Path, session: TritonSession) -> VerifyResult:
    golden = read_golden(folder, model)
    rows: list[Row] = golden.rows if golden else golden_rows(model.stage)
    outputs = next(session.infer_many(model.name, [rows])).outputs
    if golden is None:
        return _compare_texts(model.name, model.stage, outputs)
    found = agreement(model.stage, outputs, golden.outputs)
    least = LEAST_AGREEMENT[model.precision_on(session.device)]
    measure = "correlation of scores" if model.stage == "rerank" else "lowest cosine"
    against = golden.reference if golden.of_framework else f"{golden.reference}, no reference values"
    figure = f"{measure} {found:.4f} of {len(rows)} texts, against {against}"
    # Not found < least: a value that is no number must not pass.
    if found >= least:
        return VerifyResult(model.name, None, figure)
    exact = model.precision_on(session.device) == "fp32"
    remedy = "build it again" if exact else "in model.toml, [precision] with fp32 serves it as it is"
    return VerifyResult(model.name, f"expected {least} or more: {figure}; {remedy}", figure)


def _compare_texts(name: str, stage: Stage, outputs: Outputs) -> VerifyResult:
    related, unrelated = _similarities(stage, outputs)
    figure = f"no reference values; the answer {related:.3f}, an unrelated text {unrelated:.3f}"
    return VerifyResult(name, None if related > unrelated else f"expected the answer to be closer: {figure}", figure)


def _similarities(stage: Stage, outputs: Outputs) -> tuple[float, float]:
    """Of the question with its answer, and with an unrelated text: the first of ``golden_rows``."""
    if stage == "rerank":
        related, unrelated = outputs["score"].ravel()[:2]
        return float(related), float(unrelated)
    question, *others = vectors(outputs)[:3]
    related, unrelated = (sum(value * other.get(index, 0.0) for index, value in question.items()) for other in others)
    return related, unrelated
