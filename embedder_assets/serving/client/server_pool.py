"""Several servers of a run: a request goes to the healthy one that has the fewest in flight.

One that fails is ejected (``ejection.py``), and what it had no answer to goes to another one at once.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from embedder_assets.errors import EmbedderError, ModelCrashedError, TritonUnavailableError
from embedder_assets.serving.client.ejection import PROBE_TIMEOUT_S, Endpoint, OutlierEjection
from embedder_assets.serving.client.grpc import REQUESTS_IN_FLIGHT, TritonClient
from embedder_assets.serving.client.recovery import (
    MAX_CRASHES,
    SERVER_FAULTS,
    TRANSIENT,
    Prepare,
    Recovery,
    RecoveryLog,
    RetryState,
    recovery_reason,
    with_detail,
)
from embedder_assets.serving.server.access import TritonAddress
from embedder_assets.serving.server.embedded import configured_address
from embedder_assets.settings import Settings

Result = TypeVar("Result")


class ServerPool:
    """The servers at several addresses, of which one is enough.

    Args:
        settings: The resolved settings, which name them.
        prepare: Loads a model with a client, and makes sure that it is the right one.
        recoveries: Records what was done.

    Attributes:
        embedded: None: they are all others'.
        loaded: The models that are in use.
    """

    embedded = None

    def __init__(self, settings: Settings, prepare: Prepare, recoveries: RecoveryLog) -> None:
        self._settings = settings
        self._prepare = prepare
        self._recoveries = recoveries
        self._lock = threading.Lock()
        self._endpoints: list[Endpoint] = []
        self._request_numbers = itertools.count(1)
        self.loaded: set[str] = set()
        self._ejection = OutlierEjection(prepare, recoveries, self.loaded, self._lock)

    @property
    def addresses(self) -> list[TritonAddress]:
        """Where the servers answer; empty while none was needed."""
        return [endpoint.client.address for endpoint in self._endpoints]

    @property
    def max_in_flight(self) -> int:
        """Requests that may be in flight at once: as many for each server that is not ejected."""
        return REQUESTS_IN_FLIGHT * max(1, sum(endpoint.error is None for endpoint in self._endpoints))

    def attempt(self, work: Callable[[TritonClient], Result], retry: RetryState) -> Result:
        """Does some work with the least busy server; where that fails, with each of the others once.

        Raises:
            TritonUnavailableError: None of them is left.
            ModelCrashedError: The last one that was left lost the model's process.
            TritonAccessError: None of them authorizes the client.
        """
        tried: list[Endpoint] = []
        while True:
            endpoint = self._take(retry.model, tried)
            ejections = endpoint.ejections
            try:
                result = work(endpoint.client)
            except SERVER_FAULTS as error:
                retry.crashes += isinstance(error, ModelCrashedError)
                self._ejection.eject(endpoint, retry.model, error, ejections)
                tried.append(endpoint)
                if retry.crashes > MAX_CRASHES or not self._has_other(retry.model, tried):
                    raise
            else:
                endpoint.failures = 0
                return result
            finally:
                with self._lock:
                    endpoint.in_flight -= 1

    def load(self, retry: RetryState) -> None:
        """Loads the model at every server; it is enough that one can.

        Raises:
            TritonUnavailableError: None can, and one of them does not answer.
            EmbedderError: None can: the model is another one than described, or cannot be loaded.
        """
        model = retry.model
        with self._lock:
            self.loaded.add(model)
            asked = {endpoint: endpoint.ejections for endpoint in self._started() if endpoint.error is None}
        failed = {}
        for endpoint in asked:
            try:
                endpoint.client.require_live(PROBE_TIMEOUT_S)
                self._accept(endpoint, model)
            except EmbedderError as error:
                failed[endpoint] = error
        if len(failed) == len(asked):
            self._give_up(model)
            raise self._none_left(failed)
        for endpoint, why in failed.items():
            if isinstance(why, SERVER_FAULTS):
                self._ejection.eject(endpoint, model, why, asked[endpoint])
            else:
                self._ejection.refuse(endpoint, model, why)

    def unload(self, models: set[str], retry: RetryState) -> None:
        """Unloads models at every server; those that are ejected do it before they are restored."""
        self.forget(models)
        with self._lock:
            for endpoint in self._endpoints:
                endpoint.pending_unloads |= models if endpoint.error else set()
            asked = {endpoint: endpoint.ejections for endpoint in self._endpoints if endpoint.error is None}
        for endpoint, ejections in asked.items():
            try:
                endpoint.client.ensure_all_unloaded(models)
            except SERVER_FAULTS as error:
                endpoint.pending_unloads |= models
                self._ejection.eject(endpoint, retry.model, error, ejections)

    def forget(self, models: set[str]) -> None:
        """These models are not in use any more."""
        with self._lock:
            self.loaded -= models
            for endpoint in self._endpoints:
                endpoint.models -= models

    def recover(self, retry: RetryState, error: EmbedderError) -> None:
        """Records that no server is left; those that are ejected are being probed already."""
        if retry.crashes > MAX_CRASHES:
            raise with_detail(error, f"{retry.crashes} crashes during one request", ModelCrashedError) from error
        if not retry.reported:
            retry.reported = True
            recovery = Recovery("request_retried", retry.model, recovery_reason(error))
            self._recoveries.note(recovery, "no server answers; unanswered requests are retried")

    def close(self) -> None:
        """Closes the clients; no server is asked any more."""
        self._ejection.close()
        with self._lock:
            for endpoint in self._endpoints:
                endpoint.client.close()

    def _started(self) -> list[Endpoint]:
        if not self._endpoints:
            addresses = [configured_address(self._settings, grpc) for grpc in self._settings.triton_url]
            self._endpoints = [Endpoint(TritonClient(each, self._settings.triton_timeout_s)) for each in addresses]
        return self._endpoints

    def _usable(self, model: str, tried: Sequence[Endpoint]) -> list[Endpoint]:
        return [each for each in self._endpoints if not each.error and model in each.models and each not in tried]

    def _has_other(self, model: str, tried: Sequence[Endpoint]) -> bool:
        with self._lock:
            return bool(self._usable(model, tried))

    def _take(self, model: str, tried: Sequence[Endpoint]) -> Endpoint:
        """The server with the fewest requests in flight; of several the one whose last request was the longest ago."""
        with self._lock:
            usable = self._usable(model, tried)
            if not usable:
                raise self._none_left({each: why for each in self._endpoints if (why := each.error_for(model))})
            endpoint = min(usable, key=lambda each: (each.in_flight, each.last_request))
            endpoint.in_flight += 1
            endpoint.last_request = next(self._request_numbers)
            return endpoint

    def _none_left(self, why: dict[Endpoint, EmbedderError]) -> EmbedderError:
        """One error with the reason for every server; a transient one where any of the reasons is transient."""
        why = {**{each: each.error for each in self._endpoints if each.error}, **why}
        if not why:
            return TritonUnavailableError(
                f"Triton at {', '.join(each.name for each in self._endpoints)}",
                expected="a server with the model",
                got="none yet",
                remedy="Start the run again.",
            )
        first = next((error for error in why.values() if isinstance(error, TRANSIENT)), next(iter(why.values())))
        got = "; ".join(f"{endpoint.name}: {error.got}" for endpoint, error in why.items())
        thing = f"{first.thing}, none of {len(self._endpoints)} servers left"
        return type(first)(thing, expected=first.expected, got=got, remedy=first.remedy)

    def _give_up(self, model: str) -> None:
        with self._lock:
            if not any(model in endpoint.models for endpoint in self._endpoints):
                self.loaded.discard(model)

    def _accept(self, endpoint: Endpoint, model: str) -> None:
        self._prepare(model, endpoint.client)
        with self._lock:
            endpoint.refused.pop(model, None)
            if model in self.loaded and endpoint.error is None:
                endpoint.models.add(model)
