"""Outlier ejection, as Envoy calls it: a server that fails gets no requests until it is healthy again.

An ejected server is probed in the background, with pauses that grow, until it answers. Then it gets the models that are
in use, each checked against its fingerprint, unloads what was unloaded elsewhere meanwhile, and takes part again.
"""

from __future__ import annotations

import random
import threading

from embedder_assets.errors import EmbedderError, ModelBuildError, ModelCrashedError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.recovery import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    SERVER_FAULTS,
    Prepare,
    Recovery,
    RecoveryLog,
    recovery_reason,
)

PROBE_TIMEOUT_S = 5.0


class Endpoint:
    """One server of a pool.

    Attributes:
        client: Its client.
        in_flight: Requests that it has not answered yet.
        last_request: Number of the last request that it was given.
        models: The models that it serves with the right fingerprint.
        refused: The models that it is not asked for, with the reason.
        error: Why it is ejected, or None.
        ejections: How often it was ejected: a request sent before that says nothing about its health now.
        crashed: The models whose process died since it was ejected.
        pending_unloads: The models that it has to unload before it is restored.
        failures: Failures without an answer in between.
    """

    def __init__(self, client: TritonClient) -> None:
        self.client = client
        self.in_flight = 0
        self.last_request = 0
        self.models: set[str] = set()
        self.refused: dict[str, EmbedderError] = {}
        self.error: EmbedderError | None = None
        self.ejections = 0
        self.crashed: set[str] = set()
        self.pending_unloads: set[str] = set()
        self.failures = 0

    @property
    def name(self) -> str:
        """Its ``host:port``."""
        return self.client.address.grpc

    def error_for(self, model: str) -> EmbedderError | None:
        """Why it is not asked for a model, or None where it may be."""
        return self.error or self.refused.get(model)


class OutlierEjection:
    """Ejects servers of a pool, and restores them when they are healthy.

    Args:
        prepare: Loads a model with a client, and raises unless it is the right one.
        recoveries: Records what was done.
        loaded: The models that are in use, which a server needs before it is restored; the pool's.
        lock: Held for every change of ``loaded`` and of a server's models and ejection; the pool's.
    """

    def __init__(self, prepare: Prepare, recoveries: RecoveryLog, loaded: set[str], lock: threading.Lock) -> None:
        self._prepare = prepare
        self._recoveries = recoveries
        self._loaded = loaded
        self._lock = lock
        self._closed = threading.Event()

    def eject(self, endpoint: Endpoint, model: str, error: EmbedderError, ejections: int) -> None:
        """Sends a server no requests until it is healthy; once, although several requests fail together.

        Args:
            endpoint: The server.
            model: The model that was asked.
            error: What came instead of an answer.
            ejections: How often it had been ejected when it was asked.
        """
        with self._lock:
            if isinstance(error, ModelCrashedError):
                endpoint.crashed.add(model)
            if endpoint.error is not None or endpoint.ejections != ejections or self._closed.is_set():
                return
            endpoint.error = error
            endpoint.ejections += 1
            endpoint.models.clear()
            endpoint.failures += 1
        recovery = Recovery("endpoint_ejected", model, recovery_reason(error), endpoint.name)
        self._recoveries.note(recovery, f"{error.got}; the others go on")
        threading.Thread(target=self._probe_until_healthy, args=(endpoint, model), name="probe", daemon=True).start()

    def refuse(self, endpoint: Endpoint, model: str, error: EmbedderError) -> None:
        """Asks a server nothing more of one model, which is another one there or cannot be loaded."""
        endpoint.refused[model] = error
        reason = "other_fingerprint" if isinstance(error, ModelBuildError) else "model_unavailable"
        self._recoveries.note(Recovery("endpoint_refused", model, reason, endpoint.name), str(error))

    def close(self) -> None:
        """Ends the probes, and ejects nothing any more."""
        self._closed.set()

    def _probe_until_healthy(self, endpoint: Endpoint, model: str) -> None:
        while not self._closed.wait(_pause_s(endpoint.failures)):
            try:
                self._restore(endpoint)
            except EmbedderError as error:
                endpoint.error = error
                endpoint.failures += 1
                continue
            if endpoint.models or not endpoint.refused:
                recovery = Recovery("endpoint_restored", model, "answers", endpoint.name)
                self._recoveries.note(recovery, "it answers, with the models that are in use")
            return

    def _restore(self, endpoint: Endpoint) -> None:
        """Loads and unloads what is due until nothing is, and ends the ejection; raises where the server fails."""
        client = endpoint.client
        client.require_live(PROBE_TIMEOUT_S)
        for model in sorted(endpoint.crashed & self._loaded):
            client.reload(model)
            endpoint.crashed.discard(model)
        ready: set[str] = set()
        refused: set[str] = set()
        while True:
            with self._lock:
                missing = self._loaded - ready - refused
                unloads = endpoint.pending_unloads - self._loaded
                if not missing and not unloads:
                    endpoint.models = ready & self._loaded
                    endpoint.pending_unloads.clear()
                    endpoint.crashed.clear()
                    endpoint.error = None
                    return
            client.ensure_all_unloaded(unloads)
            endpoint.pending_unloads -= unloads
            for model in sorted(missing):
                (ready if self._is_served(endpoint, model) else refused).add(model)

    def _is_served(self, endpoint: Endpoint, model: str) -> bool:
        """Whether an ejected server serves the right model; raises where it does not answer."""
        try:
            self._prepare(model, endpoint.client)
        except SERVER_FAULTS:
            raise
        except EmbedderError as error:
            self.refuse(endpoint, model, error)
            return False
        endpoint.refused.pop(model, None)
        return True


def _pause_s(failures: int) -> float:
    longest = min(FIRST_PAUSE_S * 2 ** min(failures, 16), LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)
