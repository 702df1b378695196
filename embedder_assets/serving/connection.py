"""The way to a Triton server that outlives the server: what failed for a moment is sent again.

A server of our own that has died is started anew, with the models that it had; one of others is awaited, and found
again where it moved. A model whose process has died is loaded anew. Answers that were not given are asked for again, so
who waits for one notices nothing but the time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_exponential_jitter

from embedder_assets.errors import EmbedderError, ModelCrashedError, TritonUnavailableError
from embedder_assets.serving.client import REQUESTS_IN_FLIGHT, Answer, RecoveryKind, Row, TritonClient
from embedder_assets.serving.embedded import EmbeddedTriton, TritonAddress, find_running
from embedder_assets.settings import Settings

Result = TypeVar("Result")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# Deaths without an answer in between: then it is not chance.
DEATHS = 3
TRANSIENT = (TritonUnavailableError, ModelCrashedError)

_log = logging.getLogger(__name__)


class Connection:
    """A client of the server that the settings name, which is found or started when it is first needed.

    Args:
        settings: The resolved settings.
        reload: Given a new client after a server was lost: brings back the models that were in use.

    Attributes:
        embedded: The server of our own, if there is one.
    """

    def __init__(self, settings: Settings, reload: Callable[[TritonClient], None]) -> None:
        self._settings = settings
        self._reload = reload
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(REQUESTS_IN_FLIGHT, thread_name_prefix="triton")
        self._closed = threading.Event()
        self._current: TritonClient | None = None
        # Counts what was mended: a request that failed before that need not mend it again.
        self._generation = 0
        self._deaths = 0
        self._given_up = False
        self._recoveries: deque[tuple[RecoveryKind, str]] = deque()
        self.embedded: EmbeddedTriton | None = None

    @property
    def address(self) -> TritonAddress | None:
        """Where the server answers, or None while none was needed."""
        return self._current.address if self._current else None

    def recoveries(self) -> list[tuple[RecoveryKind, str]]:
        """What was done to get answers all the same, since the last call."""
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._recoveries.popleft())
        return taken

    def infer(self, model: str, rows: Sequence[Row], traceparent: str | None = None) -> Answer:
        """The same as of ``TritonClient``, sent again while the server or the model's process is gone.

        Raises:
            TritonUnavailableError: Triton has not answered for ``triton_retry_s`` seconds, or dies again and again.
        """
        return self.call(lambda client: client.infer(model, rows, traceparent), model)

    def submit(self, model: str, rows: Sequence[Row], traceparent: str | None = None) -> Future[Answer]:
        """The same in the background; errors come out of the future."""
        return self._pool.submit(self.infer, model, rows, traceparent)

    def call(self, work: Callable[[TritonClient], Result], model: str) -> Result:
        """Does some work with the client, again and again while what fails may pass.

        Args:
            work: Has to be harmless when it is done twice.
            model: Name of the model that it is about.
        """
        outage = _Outage(model)

        def attempt() -> Result:
            outage.generation = self._generation
            result = work(self._client())
            self._deaths, self._given_up = 0, False
            return result

        retrying = Retrying(
            retry=retry_if_exception_type(TRANSIENT),
            wait=wait_exponential_jitter(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=lambda _: self._stops(outage),
            before_sleep=lambda state: self._mend(outage, _error_of(state)),
            retry_error_callback=lambda state: self._give_up(outage, state),
            sleep=sleep_using_event(self._closed),
        )
        return retrying(attempt)

    def close(self) -> None:
        """Closes the client, ends the server if it is our own, and lets nobody wait any longer."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._leave()

    def _client(self) -> TritonClient:
        with self._lock:
            if self._current is None:
                self._current = TritonClient(self._find_server(), self._settings.triton_timeout_s)
            return self._current

    def _find_server(self) -> TritonAddress:
        settings = self._settings
        if settings.triton_url:
            return TritonAddress(settings.triton_url, settings.triton_metrics_url)
        state = settings.home / "triton"
        running = find_running(state)
        if running is not None:
            return running
        self.embedded = EmbeddedTriton(settings.model_repository, state, settings.triton_trace_url)
        return self.embedded.address

    def _stops(self, outage: _Outage) -> bool:
        # Who has waited in vain does not wait again, until the server has answered.
        return self._closed.is_set() or self._given_up or outage.seconds >= self._settings.triton_retry_s

    def _give_up(self, outage: _Outage, state: RetryCallState) -> NoReturn:
        error = _error_of(state)
        if state.attempt_number == 1:
            raise error
        self._given_up = True
        raise _with(error, f"sent again for {outage.seconds:.0f} s, EMBEDDER_TRITON_RETRY_S") from error

    def _mend(self, outage: _Outage, error: EmbedderError) -> None:
        """Does what can be done before the next try; once, although several requests fail together."""
        with self._lock:
            if outage.generation != self._generation or self._current is None:
                return
            crashed = isinstance(error, ModelCrashedError)
            if self._moved() or (crashed and self.embedded is not None):
                # Triton needs minutes to unload a model whose process has died: a new server takes two seconds.
                self._dies(error)
                lost = self._current.address.grpc
                self._leave()
                with suppress(*TRANSIENT):
                    self._reload(self._client())
                self._mended("server_restarted", outage.model, f"the server at {lost} is gone")
            elif crashed:
                self._dies(error)
                with suppress(*TRANSIENT):
                    self._current.reload(outage.model)
                self._mended("model_reloaded", outage.model, "its process is gone")
            elif not outage.told:
                outage.told = True
                self._note("request_retried", outage.model, "the server does not answer")

    def _moved(self) -> bool:
        """Whether the server is gone for good from where it was."""
        if self._settings.triton_url:
            return False
        if self.embedded is not None:
            return not self.embedded.running
        running = find_running(self._settings.home / "triton")
        return running is None or self._current is None or running.grpc != self._current.address.grpc

    def _dies(self, error: EmbedderError) -> None:
        """Counts a death; raises when it has become the rule: then what is asked for may be the cause."""
        self._deaths += 1
        if self._deaths > DEATHS:
            raise _with(error, f"{self._deaths} deaths without an answer in between", ModelCrashedError) from error

    def _mended(self, kind: RecoveryKind, model: str, why: str) -> None:
        self._generation += 1
        self._note(kind, model, why)

    def _note(self, kind: RecoveryKind, model: str, why: str) -> None:
        self._recoveries.append((kind, model))
        _log.warning("%s: %s for model '%s'; what has no answer is sent again", kind, why, model)

    def _leave(self) -> None:
        """Closes the client, and ends the server if it is our own."""
        if self._current:
            self._current.close()
        if self.embedded:
            self.embedded.stop(at_once=True)
        self._current = self.embedded = None


class _Outage:
    """What one caller knows of the time in which it gets no answer.

    Attributes:
        model: Name of the model that it asks.
        generation: Of the connection when the last try began.
        told: Whether it was noted.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.generation = 0
        self.told = False
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Since the first look at this, which is right after the first failure."""
        if self._began is None:
            self._began = time.monotonic()
        return time.monotonic() - self._began


def _with(error: EmbedderError, more: str, kind: type[EmbedderError] | None = None) -> EmbedderError:
    """The same error with more words about what came."""
    got = f"{error.got} ({more})"
    return (kind or type(error))(error.thing, expected=error.expected, got=got, remedy=error.remedy)


def _error_of(state: RetryCallState) -> EmbedderError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, EmbedderError)
    return error
