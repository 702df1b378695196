"""A key of the home by which a run knows its own exporter, whoever else may listen on the port.

The run sends a random challenge, and the endpoint answers with a keyed digest (HMAC-SHA256) over challenge, path and
body. The key itself is never sent; who cannot read the home can neither answer nor change an answer.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embedder_assets.errors import TelemetryError
from embedder_assets.telemetry.exporter.connections import App

FILE_NAME = "metrics-proof.key"
CHALLENGE_HEADER = "X-Embedder-Challenge"
PROOF_HEADER = "X-Embedder-Proof"
KEY_BYTES = 32


def key_of(home: Path) -> bytes:
    """The key of a home, made at the first look, readable by its owner alone.

    Raises:
        TelemetryError: It cannot be read, or not be made.
    """
    file = home / FILE_NAME
    try:
        if not file.exists():
            _make(file)
        key = bytes.fromhex(file.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise _unusable(file, str(error)) from error
    if len(key) != KEY_BYTES:
        raise _unusable(file, f"{len(key)} bytes")
    return key


def challenge() -> str:
    """A challenge that was never used before."""
    return secrets.token_hex(16)


def proof(key: bytes, challenge: str, path: str, body: bytes) -> str:
    """What only an endpoint with the key can answer to a challenge.

    Args:
        key: Of the home.
        challenge: As the run has sent it.
        path: That was asked for.
        body: Of the answer.
    """
    return hmac.new(key, "\n".join([challenge, path, ""]).encode() + body, "sha256").hexdigest()


def is_proof(given: str | None, key: bytes, challenge: str, path: str, body: bytes) -> bool:
    """Whether an answer comes from an endpoint with the key."""
    return given is not None and hmac.compare_digest(given.encode(), proof(key, challenge, path, body).encode())


def with_proof(app: App, home: Path) -> App:
    """An application that adds the proof to the answers of those who send a challenge.

    The key is read for each of them: a home may be made anew under an exporter.
    """

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sent = environ.get(f"HTTP_{CHALLENGE_HEADER.upper().replace('-', '_')}")
        if sent is None:
            return app(environ, start_response)
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(app(environ, lambda status, headers, *_: started.append((status, headers))))
        status, headers = started[0]
        start_response(status, [*headers, (PROOF_HEADER, proof(key_of(home), sent, environ["PATH_INFO"], body))])
        return [body]

    return wrapped


def _make(file: Path) -> None:
    """Makes the file whole or not at all; where two do so at once, both have the one that was first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        unfinished.touch(0o600, exist_ok=False)
        unfinished.write_text(secrets.token_hex(KEY_BYTES), "ascii")
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(unfinished)
    finally:
        unfinished.unlink(missing_ok=True)


def _unusable(file: Path, got: str) -> TelemetryError:
    return TelemetryError(
        f"the key of the metrics endpoint, {file}",
        expected=f"{KEY_BYTES} bytes in hexadecimal digits that this user may read",
        got=got,
        remedy="Give it to the user that runs the exporter and the runs, or remove it: the next run or exporter makes "
        "one. An exporter that runs has to be started again after that.",
    )
