"""A Redis of the tests' own: Debian's package, a folder and a port for itself, gone at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.processes import eventually, free_port


def program() -> str | None:
    """Where the server is."""
    return shutil.which("redis-server")


@contextmanager
def running(server: str) -> Iterator[int]:
    """A server while the context lasts; gives its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="embedder-redis-") as folder:
        log = Path(folder) / "log"
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
        with log.open("w") as said:
            process = subprocess.Popen([server, *settings], stdout=said, stderr=said)
        try:
            assert eventually(lambda: _answers(port)), log.read_text("utf-8")
            yield port
        finally:
            process.terminate()
            process.wait(30)


def url(port: int) -> str:
    """As Celery names it."""
    return f"redis://127.0.0.1:{port}/0"


def _answers(port: int) -> bool:
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=1)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
