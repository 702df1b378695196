"""The one server of a run: found or started when it is first needed, and recovered when it is lost.

An embedded server that has died is started again, with the models that it had; one of others is awaited, and found
again where it moved. A model whose process has crashed is reloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from embedder_assets.errors import EmbedderError, ModelCrashedError, RecoveryKind, TritonUnavailableError
from embedder_assets.serving.client.grpc import REQUESTS_IN_FLIGHT, TritonClient
from embedder_assets.serving.client.recovery import (
    MAX_CRASHES,
    TRANSIENT,
    Prepare,
    Recovery,
    RecoveryLog,
    RetryState,
    with_detail,
)
from embedder_assets.serving.server.access import ClientAccess, TritonAddress, with_secret_of
from embedder_assets.serving.server.embedded import EmbeddedTriton, configured_address, find_running
from embedder_assets.serving.server.supervisor_lock import is_held, supervisor_lock
from embedder_assets.settings import Settings

Result = TypeVar("Result")

POLL_INTERVAL_S = 0.5
# A server takes milliseconds to report that a model's process has died, where it notices.
HUNG_LOAD_AFTER_S = 2.0


class SingleServer:
    """The server that the settings name, that ``embedder serve`` advertises, or an embedded one.

    Args:
        settings: The resolved settings.
        prepare: Loads a model with a client, and makes sure that it is the right one.
        recoveries: Records what was done.

    Attributes:
        embedded: The embedded server, if there is one.
        loaded: The models that are in use.
        max_in_flight: Requests that may be in flight at once.
    """

    max_in_flight = REQUESTS_IN_FLIGHT

    def __init__(self, settings: Settings, prepare: Prepare, recoveries: RecoveryLog) -> None:
        self._settings = settings
        self._prepare = prepare
        self._recoveries = recoveries
        self._lock = threading.RLock()
        self._current: TritonClient | None = None
        # Counts recoveries: a request that failed before the last one need not recover the server again.
        self._generation = 0
        self._crashes = 0
        self.embedded: EmbeddedTriton | None = None
        self.loaded: set[str] = set()

    @property
    def addresses(self) -> list[TritonAddress]:
        """Where the server answers; empty while none was needed."""
        return [self._current.address] if self._current else []

    def attempt(self, work: Callable[[TritonClient], Result], retry: RetryState) -> Result:
        """Does some work with the client, once."""
        retry.generation = self._generation
        result = work(self._client())
        self._crashes = 0
        return result

    def load(self, retry: RetryState) -> None:
        """Loads the model."""
        with self._stopping_hung_loads():
            self.attempt(lambda client: self._prepare(retry.model, client), retry)
        self.loaded.add(retry.model)

    def unload(self, models: set[str], retry: RetryState) -> None:
        """Unloads models."""
        self.forget(models)
        self.attempt(lambda client: client.ensure_all_unloaded(models), retry)

    def forget(self, models: set[str]) -> None:
        """These models are not in use any more."""
        self.loaded -= models

    def recover(self, retry: RetryState, error: EmbedderError) -> None:
        """Does what can be done before the next try; once, although several requests fail together."""
        with self._lock:
            if retry.generation != self._generation:
                return
            if self._current is None:
                self._report_once(retry, "there is no server")
                return
            crashed = isinstance(error, ModelCrashedError)
            if self._is_lost() or (crashed and self.embedded is not None):
                # Triton needs minutes to unload a model whose process has died: a new server takes two seconds.
                self._count_crash(error)
                lost = self._current.address.grpc
                self._disconnect()
                with suppress(*TRANSIENT):
                    self._client()
                self._note_recovery("server_restarted", retry, f"the server at {lost} is lost")
            elif crashed:
                self._count_crash(error)
                with suppress(*TRANSIENT):
                    self._current.reload(retry.model)
                    self._prepare(retry.model, self._current)  # what it has loaded now may be another one
                self._note_recovery("model_reloaded", retry, "its process has crashed")
            else:
                self._report_once(retry, "the server does not answer")

    def close(self) -> None:
        """Closes the client, and ends the server if it is embedded."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _stopping_hung_loads(self) -> Iterator[None]:
        """Stops an embedded server that would wait for ever: a model's process has died in its first milliseconds.

        Triton notices the death only of a process that has reported to it.
        """
        over, before = threading.Event(), self.embedded.dead_children() if self.embedded else set()

        def watch() -> None:
            unnoticed_s = 0.0
            while not over.wait(POLL_INTERVAL_S):
                server = self.embedded
                if server is None or not server.dead_children() - before:
                    unnoticed_s = 0.0
                elif (unnoticed_s := unnoticed_s + POLL_INTERVAL_S) > HUNG_LOAD_AFTER_S:
                    server.stop(at_once=True)
                    return

        watcher = threading.Thread(target=watch, name="load", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _client(self) -> TritonClient:
        with self._lock:
            if self._current is None:
                self._current = TritonClient(self._find_or_start(), self._settings.triton_timeout_s)
                self._reload_models(self._current)
            return self._current

    def _reload_models(self, client: TritonClient) -> None:
        """Loads the models that are in use, where the server replaces one that was lost."""
        if not self.loaded:
            return
        try:
            with self._stopping_hung_loads():
                for model in sorted(self.loaded):
                    self._prepare(model, client)
        except BaseException:
            self._disconnect()
            raise

    def _find_or_start(self) -> TritonAddress:
        settings = self._settings
        found = self._find()
        if found is not None:
            return found
        state = settings.home / "triton"
        if is_held(supervisor_lock(state)):
            raise TritonUnavailableError(
                "the Triton of `embedder up`",
                expected="an answer",
                got="none; it is being started",
                remedy=f"{settings.home / 'logs' / 'triton.log'} says why it takes so long.",
            )
        # Nobody but this run uses it.
        self.embedded = EmbeddedTriton(settings.model_repository, state, settings.triton_trace_url)
        return self.embedded.address

    def _find(self) -> TritonAddress | None:
        """The server that the settings name or that this home's ``embedder serve`` advertises, with its credentials."""
        settings = self._settings
        if settings.triton_url:
            return configured_address(settings, settings.triton_url[0])
        running = find_running(settings.home / "triton")
        return running and replace(running, access=with_secret_of(running, ClientAccess.of(settings)))

    def _is_lost(self) -> bool:
        """Whether the server is no longer where it was, or another one is there, with a secret of its own."""
        if self.embedded is not None:
            return not self.embedded.running
        return self._current is None or self._find() != self._current.address

    def _count_crash(self, error: EmbedderError) -> None:
        """Counts a crash; raises when crashes have become the rule: then the request may be the cause."""
        self._crashes += 1
        if self._crashes > MAX_CRASHES:
            detail = f"{self._crashes} crashes without an answer in between"
            raise with_detail(error, detail, ModelCrashedError) from error

    def _note_recovery(self, kind: RecoveryKind, retry: RetryState, why: str) -> None:
        self._generation += 1
        self._note(kind, retry, why)

    def _report_once(self, retry: RetryState, why: str) -> None:
        if not retry.reported:
            retry.reported = True
            self._note("request_retried", retry, why)

    def _note(self, kind: RecoveryKind, retry: RetryState, why: str) -> None:
        reason = "model_crashed" if kind == "model_reloaded" else "triton_unavailable"
        self._recoveries.note(Recovery(kind, retry.model, reason), f"{why}; unanswered requests are retried")

    def _disconnect(self) -> None:
        if self._current:
            self._current.close()
        if self.embedded:
            self.embedded.stop(at_once=True)
        self._current = self.embedded = None
