"""Retries: a request that fails for a transient reason is sent again, with backoff, until ``triton_retry_s`` is over.

The caller notices nothing but the time. What is done about a lost server is up to ``SingleServer`` and ``ServerPool``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_exponential_jitter

from embedder_assets.errors import EmbedderError
from embedder_assets.serving.client.grpc import REQUESTS_IN_FLIGHT, Answer, Row
from embedder_assets.serving.client.recovery import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    TRANSIENT,
    Prepare,
    RecoveryLog,
    RetryState,
    with_detail,
)
from embedder_assets.serving.client.server_pool import ServerPool
from embedder_assets.serving.client.single_server import SingleServer
from embedder_assets.settings import Settings

Result = TypeVar("Result")


class RetryingClient:
    """Requests to the servers that the settings name, which are found or started when the first one is needed.

    Args:
        settings: The resolved settings.
        prepare: Loads a model with a client, and raises unless it is the right one.

    Attributes:
        servers: The servers, of which some may be started, ejected or lost.
        recoveries: What was done to get answers.
    """

    def __init__(self, settings: Settings, prepare: Prepare) -> None:
        self._settings = settings
        self.recoveries = RecoveryLog()
        self.servers: SingleServer | ServerPool
        if len(settings.triton_url) > 1:
            self.servers = ServerPool(settings, prepare, self.recoveries)
        else:
            self.servers = SingleServer(settings, prepare, self.recoveries)
        workers = REQUESTS_IN_FLIGHT * max(1, len(settings.triton_url))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="triton")
        self._closed = threading.Event()
        self._given_up = False

    def infer(self, model: str, rows: Sequence[Row], traceparent: str | None = None) -> Answer:
        """The same as of ``TritonClient``, sent again while the server or the model's process is down.

        Raises:
            TritonUnavailableError: Triton has not answered for ``triton_retry_s`` seconds, or crashes again and again.
        """

        def ask(retry: RetryState) -> Answer:
            return self.servers.attempt(lambda client: client.infer(model, rows, traceparent), retry)

        return self._retry(ask, model)

    def submit(self, model: str, rows: Sequence[Row], traceparent: str | None = None) -> Future[Answer]:
        """The same in the background; errors come out of the future."""
        return self._pool.submit(self.infer, model, rows, traceparent)

    def load(self, model: str) -> None:
        """Loads a model at every server, and checks it against its description.

        Raises:
            EmbedderError: No server can.
        """
        self._retry(self.servers.load, model)

    def unload(self, models: set[str]) -> None:
        """Unloads models at every server."""
        self._retry(lambda retry: self.servers.unload(models, retry), ", ".join(sorted(models)))

    def close(self) -> None:
        """Closes the clients, ends the server if it is embedded, and ends the retries."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.servers.close()

    def _retry(self, attempt: Callable[[RetryState], Result], model: str) -> Result:
        """Tries something until it succeeds or fails for good; it has to be idempotent."""
        retry = RetryState(model)
        retrying = Retrying(
            retry=retry_if_exception_type(TRANSIENT),
            wait=wait_exponential_jitter(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=lambda _: self._should_stop(retry),
            before_sleep=lambda state: self.servers.recover(retry, _error_of(state)),
            retry_error_callback=lambda state: self._give_up(retry, state),
            sleep=sleep_using_event(self._closed),
        )
        result = retrying(attempt, retry)
        self._given_up = False
        return result

    def _should_stop(self, retry: RetryState) -> bool:
        # After a wait in vain no other request waits, until the server has answered.
        return self._closed.is_set() or self._given_up or retry.seconds >= self._settings.triton_retry_s

    def _give_up(self, retry: RetryState, state: RetryCallState) -> NoReturn:
        error = _error_of(state)
        if state.attempt_number == 1:
            raise error
        self._given_up = True
        raise with_detail(error, f"retried for {retry.seconds:.0f} s, EMBEDDER_TRITON_RETRY_S") from error


def _error_of(state: RetryCallState) -> EmbedderError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, EmbedderError)
    return error
