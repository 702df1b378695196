"""Golden values: what the reference framework answers to a few texts, and how close a served model comes to it.

``golden.json`` lies next to a model. It belongs to the model's ``reference_digest``, so values of other weights,
another pooling or other prefixes are found out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.description import ModelDescription, Precision, Stage
from embedder_assets.serving.models.onnx.cpu_session import open_session

GOLDEN_FILE = "golden.json"
FLOAT32_GRAPH = "the float32 graph"
DIGITS = 5
# The lowest cosine, or correlation of scores, with the reference.
LEAST_AGREEMENT: dict[Precision, float] = {"int8": 0.95, "bf16": 0.999, "fp16": 0.999, "fp32": 0.999}

QUESTION = "How do I unload a model from the inference server?"
ANSWER = "To unload a model, call the unload endpoint of the server; the model leaves memory a little later."
UNRELATED = "The bakery on the corner sells bread and cakes from six in the morning."
PASSAGES = (
    ANSWER,
    UNRELATED,
    "Error 503: retry after 30 s (see RFC 9110, section 15.6.4).",
    "Whales are mammals that live in the sea. " * 30,
    "Ein Modell verlässt den Speicher, sobald kein Auftrag mehr darauf wartet.",
)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Golden:
    """Reference values of one model.

    Attributes:
        reference_digest: Of the description that they belong to.
        reference: What computed them, with its version.
        rows: The texts, without prefixes: (text,), or (query, passage).
        outputs: Output name to array of shape [rows, …].
    """

    reference_digest: str
    reference: str
    rows: list[tuple[str, ...]]
    outputs: Arrays

    @property
    def of_framework(self) -> bool:
        """Whether the reference is another framework, not this project's own graph."""
        return not self.reference.startswith(FLOAT32_GRAPH)


def golden_rows(stage: Stage) -> list[tuple[str, ...]]:
    """The texts that golden values are made for: question, answer and an unrelated text first, then others."""
    if stage == "rerank":
        return [(query, passage) for query in (QUESTION, PASSAGES[2][:9]) for passage in PASSAGES]
    return [(QUESTION,), *((passage,) for passage in PASSAGES)]


def encode(tokenizer: Path, description: ModelDescription) -> Iterator[dict[str, NDArray[np.int64]]]:
    """The golden texts as a graph takes them, one at a time: int64 of shape [1, tokens], prefixes in front."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.enable_truncation(description.max_tokens)
    encoder.no_padding()
    for row in golden_rows(description.stage):
        texts = description.prefixed(row, "passage")
        encoding = encoder.encode_batch([texts if len(texts) == 2 else texts[0]])[0]
        columns = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        yield {
            name: np.array([ids], np.int64) for name, ids in (columns | {"token_type_ids": encoding.type_ids}).items()
        }


def graph_outputs(graph: Path, feeds: Sequence[dict[str, NDArray[np.int64]]]) -> Arrays:
    """What an ONNX graph answers on the CPU, one text at a time."""
    session = open_session(graph)
    asked = [item.name for item in session.get_inputs()]
    names = [item.name for item in session.get_outputs()]
    answers = [session.run(names, {name: feed[name] for name in asked}) for feed in feeds]
    return {name: np.concatenate(column) for name, column in zip(names, zip(*answers, strict=True), strict=True)}


def write_golden(folder: Path, description: ModelDescription, reference: str, outputs: Arrays) -> None:
    """Writes the ``golden.json`` of a model folder, rounded."""
    content = {
        "reference_digest": description.reference_digest,
        "reference": reference,
        "rows": golden_rows(description.stage),
        "outputs": {name: np.round(values.astype(float), DIGITS).tolist() for name, values in outputs.items()},
    }
    if "indices" in outputs:
        content["outputs"]["indices"] = outputs["indices"].tolist()  # type: ignore[index]
    (folder / GOLDEN_FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")


def read_golden(folder: Path, description: ModelDescription) -> Golden | None:
    """The golden values of a model, or None when there are none or they are of another model.

    Raises:
        ModelBuildError: The file cannot be read.
    """
    path = folder / GOLDEN_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        content["rows"] = [tuple(row) for row in content["rows"]]
        content["outputs"] = {name: np.array(values) for name, values in content["outputs"].items()}
        golden = Golden(**content)
        if any(values.dtype.kind not in "if" or len(values) != len(golden.rows) for values in golden.outputs.values()):
            raise ValueError("outputs that are not a row of numbers for each text")
        if not isinstance(golden.reference, str):
            raise TypeError("a reference that is no text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelBuildError(
            str(path),
            expected="golden values",
            got=f"{type(error).__name__}: {error}",
            remedy="Restore the file, or remove it and run `embedder models build`.",
        ) from error
    return golden if golden.reference_digest == description.reference_digest else None


def agreement(stage: Stage, got: Arrays, expected: Arrays) -> float:
    """How close answers come to golden values: the lowest cosine of a row, or the correlation of the scores."""
    if stage == "rerank":
        return float(np.corrcoef(got["score"].ravel(), expected["score"].ravel())[0, 1])
    pairs = list(zip(vectors(got), vectors(expected), strict=True))
    return min(_dot(ours, theirs) / math.sqrt(_dot(ours, ours) * _dot(theirs, theirs)) for ours, theirs in pairs)


def vectors(outputs: Arrays) -> list[dict[int, float]]:
    """Each row as position to value: of a dense vector, or of the (index, value) pairs of a sparse one."""
    if "embedding" in outputs:
        return [dict(enumerate(map(float, row))) for row in outputs["embedding"]]
    rows = zip(outputs["indices"].tolist(), outputs["values"].tolist(), strict=True)
    return [dict(zip(indices, values, strict=True)) for indices, values in rows]


def _dot(one: dict[int, float], other: dict[int, float]) -> float:
    return sum(value * other.get(position, 0.0) for position, value in one.items())
