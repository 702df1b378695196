"""What is known of requests without an answer: which failures are transient, how long one waits, and what was done."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from embedder_assets.errors import (
    EmbedderError,
    ModelCrashedError,
    RecoveryKind,
    TritonAccessError,
    TritonUnavailableError,
)
from embedder_assets.sanitize import safe_line
from embedder_assets.serving.client.grpc import TritonClient

# Given the name of a model and the client of a server: loads the model there, and raises unless it is the right one.
Prepare = Callable[[str, TritonClient], None]

# What a retry may cure; any other error is permanent.
TRANSIENT = (TritonUnavailableError, ModelCrashedError)
# What one of several servers is ejected for: another one may authorize the client.
SERVER_FAULTS = (*TRANSIENT, TritonAccessError)
# Crashes of a model without an answer in between: more are not chance.
MAX_CRASHES = 3
# Between two tries; a pause is longer than the one before.
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovery:
    """One thing that was done to get an answer.

    Attributes:
        model: Name of the model that was asked.
        reason: What had failed, as one word.
        endpoint: ``host:port`` of the server, where it is one of several.
        at: Unix time in seconds.
    """

    kind: RecoveryKind
    model: str
    reason: str
    endpoint: str | None = None
    at: float = field(default_factory=time.time)


class RecoveryLog:
    """The recoveries that were not read yet; any thread may add, any may take."""

    def __init__(self) -> None:
        self._waiting: deque[Recovery] = deque()

    def note(self, recovery: Recovery, why: str) -> None:
        """Keeps it, and writes it to the log."""
        self._waiting.append(recovery)
        where = f" at {recovery.endpoint}" if recovery.endpoint else ""
        _log.warning("%s", safe_line(f"{recovery.kind}{where}: {why} (model '{recovery.model}')"))

    def take(self) -> list[Recovery]:
        """Everything since the last call."""
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._waiting.popleft())
        return taken


class RetryState:
    """What is known of one request while it is retried.

    Attributes:
        model: Name of the model that it asks.
        generation: How many recoveries there had been when the last try began.
        reported: Whether it is in the log of recoveries that the request is retried.
        crashes: How often the model's process crashed during the request.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.generation = 0
        self.reported = False
        self.crashes = 0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Since the first call of this, which is right after the first failure."""
        if self._began is None:
            self._began = time.monotonic()
        return time.monotonic() - self._began


def recovery_reason(error: EmbedderError) -> str:
    """What has failed, as one word."""
    words = {ModelCrashedError: "model_crashed", TritonAccessError: "unauthorized"}
    return next((word for kind, word in words.items() if isinstance(error, kind)), "triton_unavailable")


def with_detail(error: EmbedderError, detail: str, kind: type[EmbedderError] | None = None) -> EmbedderError:
    """The same error with a detail about what came."""
    got = f"{error.got} ({detail})"
    return (kind or type(error))(error.thing, expected=error.expected, got=got, remedy=error.remedy)
