"""Every error a user may see, as one tree.

Each message answers four questions: which thing, what was expected, what came instead, and what to do about it. It is
one line without secrets of URLs, whatever the thing is called and whatever a library has said.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

from embedder_assets.sanitize import plain, redact, safe_line

# What the Triton client does about an error that a retry may cure; it reports it, and the telemetry keeps it.
RecoveryKind = Literal[
    "request_retried", "server_restarted", "model_reloaded", "endpoint_ejected", "endpoint_restored", "endpoint_refused"
]


class EmbedderError(Exception):
    """Base of all errors of this project.

    Args:
        thing: What the error is about, by the name the user knows (a path, a setting, a model).
        expected: What would have been right.
        got: What came instead.
        remedy: What the user can do now.
    """

    def __init__(self, thing: str, *, expected: str, got: str, remedy: str) -> None:
        self.thing = plain(redact(thing))
        self.expected, self.got, self.remedy = map(safe_line, (expected, got, remedy))
        super().__init__(f"{self.thing}: {self.explanation}")

    @property
    def explanation(self) -> str:
        """The message without the thing, for where that is named already."""
        return f"expected {self.expected}, got {self.got}. {self.remedy}"


class SettingsError(EmbedderError):
    """A setting cannot be read or has a value that is not allowed."""


class CorpusError(EmbedderError):
    """The corpus folder or a collection cannot be used at all."""


class DocumentError(EmbedderError):
    """One document cannot be used; the rest of its collection goes on.

    Args:
        kind: A short machine-readable word for the reason, for example ``encrypted_pdf``.
    """

    def __init__(self, thing: str, *, kind: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(thing, expected=expected, got=got, remedy=remedy)
        self.kind = kind


class ModelBuildError(EmbedderError):
    """A model cannot be fetched, verified or built."""


class TritonUnavailableError(EmbedderError):
    """The Triton server cannot be started or reached."""


class TritonAccessError(EmbedderError):
    """The Triton server refuses the client's credentials, or something that the client asks for."""


class InferenceError(EmbedderError):
    """Triton answered a request with an error or with something that is not a valid answer.

    Attributes:
        kind: A short machine-readable word for the reason.
    """

    kind = "inference_failed"


class ResourceExhaustedError(InferenceError):
    """The server had no memory for a request; the same rows in smaller requests may fit.

    Args:
        kind: What was short, as one word: ``out_of_memory``, ``shared_memory`` or ``resource_exhausted``.
    """

    def __init__(self, thing: str, *, kind: str = "resource_exhausted", expected: str, got: str, remedy: str) -> None:
        super().__init__(thing, expected=expected, got=got, remedy=remedy)
        self.kind = kind


class ModelCrashedError(InferenceError):
    """Triton runs, and the process that computes a model does not; it may be loaded again."""

    kind = "model_crashed"


class WrongAnswerError(InferenceError):
    """A model answered with something that cannot be right."""

    kind = "wrong_answer"


class ModelLoadError(InferenceError):
    """Triton runs, and cannot load a model."""


class FilterError(EmbedderError):
    """A filter of a search cannot be read, or does not fit the fields of the documents.

    Args:
        pointer: Two lines below the message: the filter, and a caret below the place.
    """

    def __init__(self, thing: str, *, pointer: str = "", **parts: str) -> None:
        super().__init__(thing, **parts)
        self.args = ("\n".join([str(self), pointer]) if pointer else str(self),)


class TableError(EmbedderError):
    """A table is missing or does not hold what its reader needs."""


class IncompleteTableError(TableError):
    """A chunk has no vector of a model, and the model is not known to fail on it."""


class CommitConflictError(TableError):
    """Somebody else has changed what a commit was made from; made again from what is there now, it may pass."""


class StorageError(TableError):
    """The object store that holds the tables does not answer, or refuses our credentials."""


class QualityError(EmbedderError):
    """A model retrieves worse than what was accepted."""


class TelemetryError(EmbedderError):
    """Telemetry cannot be served, or a manifest is missing or not what its schema describes."""


class StackError(EmbedderError):
    """A part of the long-running stack cannot run."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The remedy for a name that is not there: the nearest one that is, or something else where none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean '{nearest[0]}'?" if nearest else otherwise


def unknown_collection(name: str, known: Sequence[str], got: str = "no rows in the tables") -> TableError:
    """The error for the name of a collection that has no rows."""
    return TableError(
        f"collection '{name}'",
        expected=f"one of: {', '.join(known) or 'none has been materialized yet'}",
        got=got,
        remedy=did_you_mean(name, known, "Correct the name, or run `embedder run` first."),
    )
