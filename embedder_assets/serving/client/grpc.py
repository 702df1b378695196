"""The Triton client: loads models, reads their fingerprints, and sends requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import (
    InferenceError,
    ModelCrashedError,
    ModelLoadError,
    RecoveryKind,
    ResourceExhaustedError,
    TritonAccessError,
    TritonUnavailableError,
)
from embedder_assets.serving.client.channel import Headers, channel_args
from embedder_assets.serving.client.oom import out_of_memory_kind
from embedder_assets.serving.server.access import TritonAddress

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

# One request computes, one waits in Triton's queue, one is on its way: more would only hold memory.
REQUESTS_IN_FLIGHT = 3
UNLOAD_TIMEOUT_S = 60
# A model whose process has crashed: Triton waits for an answer of it first.
UNLOAD_CRASHED_TIMEOUT_S = 240

# What Triton answers for a model whose Python process is gone; it does not start it again by itself.
# One that was started again has no models either.
CRASHED = ("is not healthy", "Stub process", "unknown model")

# What a server answers to a client without its secret, and a connection where certificates do not match.
RESTRICTED_WORDS = ("protocol is restricted",)
CLOSED_AT_ONCE = "Socket closed"
TLS_WORDS = ("Tls handshake failed", "SSL_ERROR", "CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")

Outputs = dict[str, NDArray[Any]]
Row = tuple[str, ...]


class RequestObserver(Protocol):
    """Is notified of requests; all calls but ``traceparent`` come from the thread that takes the answers."""

    def traceparent(self) -> str | None:
        """The W3C trace context that the next request carries, or None for one that is not traced."""

    def request(
        self, model: str, latency_s: float, size: int, *, traceparent: str | None = None, dimension: int | None = None
    ) -> None:
        """A request was answered."""

    def mitigated(
        self, kind: Literal["batch_halved", "batch_recovered"], model: str, batch_size: int, reason: str
    ) -> None:
        """Requests to a model have another size from now on: ``batch_size`` rows; ``reason`` is one word."""

    def recovered(self, kind: RecoveryKind, model: str, reason: str, *, endpoint: str | None, at: float) -> None:
        """Something was done at a time (Unix, seconds) to get an answer that did not come; ``reason`` is one word.

        ``endpoint`` is the server's ``host:port``, where it is one of several.
        """


class _NoObserver:
    """The observer of requests that belong to no run: none is traced."""

    def _ignore(self, *_: object, **__: object) -> None: ...

    traceparent = request = mitigated = recovered = _ignore


UNOBSERVED: RequestObserver = _NoObserver()


@dataclass(frozen=True)
class Failure:
    """A row that failed although it was alone, while a harmless text did not.

    Attributes:
        position: Of the row in its request, from 0.
        error: What Triton answered.
    """

    position: int
    error: InferenceError


@dataclass(frozen=True)
class Answer:
    """What Triton answered to one request.

    Attributes:
        outputs: Output name to array of shape [rows that did not fail, …], in the order of the request.
        latency_s: Seconds from sending to answer, Triton's queue included.
        traceparent: The trace context that the request carried.
        failures: The rows that failed alone, in the order of the request.
    """

    outputs: Outputs
    latency_s: float
    traceparent: str | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def rows(self) -> int:
        """Texts or pairs that were answered."""
        return len(next(iter(self.outputs.values())))

    @property
    def answered(self) -> list[int]:
        """Positions in the request of the rows that did not fail."""
        failed = {failure.position for failure in self.failures}
        return [position for position in range(self.rows + len(failed)) if position not in failed]

    def failed_by_kind(self) -> dict[str, list[int]]:
        """Positions of the rows that failed, by the word for the reason."""
        by_kind: dict[str, list[int]] = {}
        for failure in self.failures:
            by_kind.setdefault(failure.error.kind, []).append(failure.position)
        return by_kind

    def aligned(self, name: str, missing: float) -> NDArray[Any]:
        """An output with a row for each row of the request, filled with ``missing`` for those that failed."""
        values = self.outputs[name]
        if not self.failures:
            return values
        aligned = np.full((self.rows + len(self.failures), *values.shape[1:]), missing, values.dtype)
        aligned[self.answered] = values
        return aligned

    @property
    def dimension(self) -> int | None:
        """Length of the dense vectors, if the model makes some."""
        embedding = self.outputs.get("embedding")
        return None if embedding is None else int(embedding.shape[1])


class TritonClient:
    """Inference over gRPC on one Triton server."""

    def __init__(self, address: TritonAddress, timeout_s: float) -> None:
        from tritonclient.grpc import InferenceServerClient

        self.address = address
        self._timeout_s = timeout_s
        access = address.access
        self._client: InferenceServerClient = InferenceServerClient(
            address.grpc,
            ssl=access.authority is not None,
            root_certificates=access.authority,
            private_key=access.certificate,
            certificate_chain=access.certificate,
            channel_args=channel_args(address),
        )
        if access.secret is not None:
            self._client.register_plugin(Headers(access.secret.headers))

    def close(self) -> None:
        """Closes the channel; requests still in flight are cancelled."""
        self._client.close()

    def require_live(self, timeout_s: float) -> None:
        """Returns when the server answers.

        Raises:
            TritonUnavailableError: It does not within ``timeout_s`` seconds.
        """
        with _errors_of(self.address, "health check"):
            self._client.is_server_live(client_timeout=timeout_s)

    def ensure_loaded(self, model: str) -> None:
        """Loads a model if it is not ready, and returns when it is.

        Raises:
            ModelLoadError: Triton cannot load the model.
            TritonUnavailableError: Triton does not answer.
        """
        with _errors_of(self.address, f"loading model '{model}'", ModelLoadError):
            if not self._client.is_model_ready(model, client_timeout=self._timeout_s):
                self._client.load_model(model, client_timeout=self._timeout_s)

    def reload(self, model: str) -> None:
        """Loads a model again whose process has crashed, or that the server has lost."""
        self.ensure_unloaded(model, UNLOAD_CRASHED_TIMEOUT_S)
        self.ensure_loaded(model)

    def ensure_unloaded(self, model: str, timeout_s: float = UNLOAD_TIMEOUT_S) -> None:
        """Unloads a model if it is loaded, and returns when its memory is released.

        Unloading is asynchronous, and a load right after it can crash the server (Triton issue 4844), so this waits.

        Raises:
            InferenceError: Triton cannot unload the model, or has not within ``timeout_s`` seconds.
            TritonUnavailableError: Triton does not answer.
        """
        with _errors_of(self.address, f"unloading model '{model}'"):
            if not self._is_loaded(model):
                return
            self._client.unload_model(model, client_timeout=self._timeout_s)
            deadline = time.monotonic() + timeout_s
            while self._is_loaded(model):
                if time.monotonic() > deadline:
                    raise InferenceError(
                        f"unloading model '{model}' at {self.address.grpc}",
                        expected=f"its end within {timeout_s:g} s",
                        got="a model that still unloads",
                        remedy="Restart the server, or set EMBEDDER_GPU_LEASE_POLICY=shared.",
                    )
                time.sleep(0.05)

    def ensure_all_unloaded(self, models: set[str]) -> None:
        """Unloads several models, one after the other; see ``ensure_unloaded``."""
        for model in sorted(models):
            self.ensure_unloaded(model)

    def loaded_models(self) -> list[str]:
        """The models that the server holds in memory now, those that still unload included."""
        with _errors_of(self.address, "reading the index of models"):
            index = self._client.get_model_repository_index(client_timeout=self._timeout_s)
        return sorted({entry.name for entry in index.models if entry.state in ("READY", "LOADING", "UNLOADING")})

    def _is_loaded(self, model: str) -> bool:
        return model in self.loaded_models()

    def model_parameters(self, model: str) -> dict[str, str]:
        """The ``parameters`` of a loaded model's configuration, the fingerprint among them."""
        with _errors_of(self.address, f"reading the configuration of model '{model}'"):
            config = self._client.get_model_config(model, client_timeout=self._timeout_s).config
        return {key: item.string_value for key, item in config.parameters.items()}

    def infer(self, model: str, rows: Sequence[Row], traceparent: str | None = None) -> Answer:
        """Sends one request.

        Args:
            model: Name of a loaded model.
            rows: The texts: one string per row for an encoder, (query, passage) for a cross-encoder.
            traceparent: W3C trace context; Triton's own spans of the request become children of its span.

        Raises:
            ResourceExhaustedError: The server has no memory for a request of this size.
            InferenceError: Triton refused the request, or answered with another number of rows.
            TritonUnavailableError: Triton does not answer.
        """
        from tritonclient.grpc import InferInput

        names = ["TEXT"] if len(rows[0]) == 1 else ["QUERY", "PASSAGE"]
        inputs = []
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            tensor = InferInput(name, [len(rows), 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[text.encode()] for text in column], dtype=np.object_))
            inputs.append(tensor)
        started = time.perf_counter()
        with _errors_of(self.address, f"inference on model '{model}'"):
            headers = {"traceparent": traceparent} if traceparent else None
            response = self._client.infer(model, inputs, client_timeout=self._timeout_s, headers=headers)
        latency_s = time.perf_counter() - started
        outputs = {item.name: response.as_numpy(item.name) for item in response.get_response().outputs}
        return Answer(_verified(model, outputs, len(rows)), latency_s, traceparent)


def _verified(model: str, outputs: Outputs, rows: int) -> Outputs:
    for name, values in outputs.items():
        if values is None or len(values) != rows:
            raise InferenceError(
                f"output '{name}' of model '{model}'",
                expected=f"{rows} rows",
                got="nothing" if values is None else f"{len(values)} rows",
                remedy="The answer was not written. Run `embedder models verify`.",
            )
    return outputs


def _unauthorized(status: str | None, message: str) -> str | None:
    """The remedy where an answer says that the client is not authorized, or None where it does not."""
    if status != "StatusCode.UNAVAILABLE":
        return None
    if any(words in message for words in RESTRICTED_WORDS):
        return (
            "Set EMBEDDER_TRITON_SECRET_FILE to a file with the server's `name=value` of restricted protocols: "
            "`triton/secret` in the home of an `embedder serve` on this machine."
        )
    if any(words in message for words in TLS_WORDS):
        return (
            "Correct EMBEDDER_TRITON_TLS_CA (what vouches for the server, whose certificate has to name the address in "
            "use), EMBEDDER_TRITON_TLS_CERT (the client's own with its key, for mutual TLS); unset them "
            "for a server without TLS."
        )
    return None


def _closed_at_once(message: str) -> str:
    """A hint, since a server with TLS gives no reason to a client without TLS or without a known certificate."""
    if CLOSED_AT_ONCE not in message:
        return ""
    return (
        " A server that closes a connection at once may want TLS (EMBEDDER_TRITON_TLS_CA) or a client's certificate "
        "(EMBEDDER_TRITON_TLS_CERT)."
    )


class _errors_of:  # noqa: N801 - reads as a statement
    """Turns the client library's exceptions into ours."""

    def __init__(self, address: TritonAddress, action: str, refused: type[InferenceError] = InferenceError) -> None:
        self._address, self._action, self._refused = address, action, refused

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        from tritonclient.utils import InferenceServerException

        if isinstance(error, InferenceServerException):
            raise self._translate(error) from error
        # Another request has found the server gone and has closed the client: this one has to be retried, too.
        if isinstance(error, ValueError) and "closed channel" in str(error):
            raise TritonUnavailableError(
                f"Triton at {self._address.grpc}",
                expected=f"an answer ({self._action})",
                got="the connection was closed",
                remedy="What was computed is kept: start the run again when Triton is back.",
            ) from error

    def _translate(self, error: InferenceServerException) -> Exception:
        log = f" The server's log is {self._address.log_file}." if self._address.log_file else ""
        # The backend's traceback is in the log.
        message = error.message().split("\n\nAt:\n")[0]
        if (unauthorized := _unauthorized(error.status(), message)) is not None:
            return TritonAccessError(
                f"{self._action} at {self._address.grpc}",
                expected="to be authorized",
                got=f"{error.status()}: {message}",
                remedy=unauthorized,
            )
        if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"):
            perhaps = _closed_at_once(message)
            return TritonUnavailableError(
                f"Triton at {self._address.grpc}",
                expected=f"an answer ({self._action})",
                got=f"{error.status()}: {message}",
                remedy=f"What was computed is kept: start the run again when Triton is back.{perhaps}{log}",
            )
        if any(words in message for words in CRASHED):
            return ModelCrashedError(
                f"{self._action} at {self._address.grpc}",
                expected="an answer",
                got=f"{error.status()}: {message}",
                remedy=f"The model's process has died: free memory on the server's machine, or restart it.{log}",
            )
        short = out_of_memory_kind(error.status(), error.message())
        # A model that cannot be loaded for want of memory is a model that cannot be loaded: no smaller request helps.
        if short is not None and self._refused is InferenceError:
            return ResourceExhaustedError(
                f"{self._action} at {self._address.grpc}",
                kind=short,
                expected="memory for the request",
                got=f"{error.status()}: {message}",
                remedy=f"Free memory on the server's machine, or lower EMBEDDER_REQUEST_BATCH_SIZE.{log}",
            )
        return self._refused(
            f"{self._action} at {self._address.grpc}",
            expected="an answer",
            got=f"{error.status()}: {message}",
            remedy=f"`embedder models verify` checks whether the models are whole.{log}",
        )
