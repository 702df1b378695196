"""The one server of a run: found or started when it is first needed, and mended when it is lost.

A server of our own that has died is started anew, with the models that it had; one of others is awaited, and found
again where it moved. A model whose process has died is loaded anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from embedder_assets.errors import EmbedderError, ModelCrashedError, TritonUnavailableError
from embedder_assets.serving.client.grpc import REQUESTS_IN_FLIGHT, RecoveryKind, TritonClient
from embedder_assets.serving.client.recovery import DEATHS, TRANSIENT, Outage, Recoveries, Recovery, with_more
from embedder_assets.serving.server.access import ClientAccess, TritonAddress, with_secret_of
from embedder_assets.serving.server.embedded import EmbeddedTriton, find_running, named_address
from embedder_assets.serving.server.supervised import is_held, supervision
from embedder_assets.settings import Settings

Result = TypeVar("Result")

LOOK_S = 0.5
# A server takes milliseconds to say that a model's process has died, where it sees it.
PATIENCE_S = 2.0


class OneServer:
    """The server that the settings name, that ``embedder serve`` published, or one of our own.

    Args:
        settings: The resolved settings.
        prepare: Loads a model with a client, and makes sure that it is the right one.
        recoveries: Told what was done.

    Attributes:
        embedded: The server of our own, if there is one.
        loaded: The models that are in use.
        most_in_flight: Requests that may be on their way at once.
    """

    most_in_flight = REQUESTS_IN_FLIGHT

    def __init__(
        self, settings: Settings, prepare: Callable[[str, TritonClient], None], recoveries: Recoveries
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._recoveries = recoveries
        self._lock = threading.RLock()
        self._current: TritonClient | None = None
        # Counts what was mended: a request that failed before that need not mend it again.
        self._generation = 0
        self._deaths = 0
        self.embedded: EmbeddedTriton | None = None
        self.loaded: set[str] = set()

    @property
    def addresses(self) -> list[TritonAddress]:
        """Where the server answers; empty while none was needed."""
        return [self._current.address] if self._current else []

    def attempt(self, work: Callable[[TritonClient], Result], outage: Outage) -> Result:
        """Does some work with the client, once."""
        outage.generation = self._generation
        result = work(self._client())
        self._deaths = 0
        return result

    def load(self, outage: Outage) -> None:
        """Loads the model."""
        with self._watching_a_load():
            self.attempt(lambda client: self._prepare(outage.model, client), outage)
        self.loaded.add(outage.model)

    def unload(self, models: set[str], outage: Outage) -> None:
        """Unloads models."""
        self.forget(models)
        self.attempt(lambda client: client.ensure_all_unloaded(models), outage)

    def forget(self, models: set[str]) -> None:
        """These models are not in use any more."""
        self.loaded -= models

    def mend(self, outage: Outage, error: EmbedderError) -> None:
        """Does what can be done before the next try; once, although several requests fail together."""
        with self._lock:
            if outage.generation != self._generation:
                return
            if self._current is None:
                self._say_once(outage, "the server is not there")
                return
            crashed = isinstance(error, ModelCrashedError)
            if self._moved() or (crashed and self.embedded is not None):
                # Triton needs minutes to unload a model whose process has died: a new server takes two seconds.
                self._dies(error)
                lost = self._current.address.grpc
                self._leave()
                with suppress(*TRANSIENT):
                    self._client()
                self._mended("server_restarted", outage, f"the server at {lost} is gone")
            elif crashed:
                self._dies(error)
                with suppress(*TRANSIENT):
                    self._current.reload(outage.model)
                    self._prepare(outage.model, self._current)  # what it has loaded now may be another one
                self._mended("model_reloaded", outage, "its process is gone")
            else:
                self._say_once(outage, "the server does not answer")

    def close(self) -> None:
        """Closes the client, and ends the server if it is our own."""
        with self._lock:
            self._leave()

    @contextmanager
    def _watching_a_load(self) -> Iterator[None]:
        """Ends a server of our own that would wait for ever: its model's process has died in its first milliseconds.

        Triton notices the death of a process that has said that it is there, and of no other one.
        """
        over, before = threading.Event(), self.embedded.dead_children() if self.embedded else set()

        def watch() -> None:
            unnoticed_s = 0.0
            while not over.wait(LOOK_S):
                server = self.embedded
                if server is None or not server.dead_children() - before:
                    unnoticed_s = 0.0
                elif (unnoticed_s := unnoticed_s + LOOK_S) > PATIENCE_S:
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
                self._current = TritonClient(self._find_server(), self._settings.triton_timeout_s)
                self._load_again(self._current)
            return self._current

    def _load_again(self, client: TritonClient) -> None:
        """A server that stands in for one that was lost gets the models that are in use."""
        if not self.loaded:
            return
        try:
            with self._watching_a_load():
                for model in sorted(self.loaded):
                    self._prepare(model, client)
        except BaseException:
            self._leave()
            raise

    def _find_server(self) -> TritonAddress:
        settings = self._settings
        found = self._found()
        if found is not None:
            return found
        state = settings.home / "triton"
        if is_held(supervision(state)):
            raise TritonUnavailableError(
                "the Triton of `embedder up`",
                expected="an answer",
                got="none; it is being started",
                remedy=f"{settings.home / 'logs' / 'triton.log'} says why it takes so long.",
            )
        # Nobody but this run uses it.
        self.embedded = EmbeddedTriton(settings.model_repository, state, settings.triton_trace_url)
        return self.embedded.address

    def _found(self) -> TritonAddress | None:
        """The server that the settings name or that this home's ``embedder serve`` published, with what it asks for."""
        settings = self._settings
        if settings.triton_url:
            return named_address(settings, settings.triton_url[0])
        running = find_running(settings.home / "triton")
        return running and replace(running, access=with_secret_of(running, ClientAccess.of(settings)))

    def _moved(self) -> bool:
        """Whether the server is gone for good from where it was, or another one is there, with a secret of its own."""
        if self.embedded is not None:
            return not self.embedded.running
        return self._current is None or self._found() != self._current.address

    def _dies(self, error: EmbedderError) -> None:
        """Counts a death; raises when it has become the rule: then what is asked for may be the cause."""
        self._deaths += 1
        if self._deaths > DEATHS:
            more = f"{self._deaths} deaths without an answer in between"
            raise with_more(error, more, ModelCrashedError) from error

    def _mended(self, kind: RecoveryKind, outage: Outage, why: str) -> None:
        self._generation += 1
        self._note(kind, outage, why)

    def _say_once(self, outage: Outage, why: str) -> None:
        if not outage.reported:
            outage.reported = True
            self._note("request_retried", outage, why)

    def _note(self, kind: RecoveryKind, outage: Outage, why: str) -> None:
        reason = "model_crashed" if kind == "model_reloaded" else "triton_unavailable"
        self._recoveries.note(Recovery(kind, outage.model, reason), f"{why}; what has no answer is sent again")

    def _leave(self) -> None:
        if self._current:
            self._current.close()
        if self.embedded:
            self.embedded.stop(at_once=True)
        self._current = self.embedded = None
