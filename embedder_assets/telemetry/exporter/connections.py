"""A WSGI server of which nobody's connections keep others from an answer.

A connection has a time to send its request, the handshake of TLS included, and a time for all of it; a request has a
size. There are never more than a certain number: one more, and the one whose time is over first is closed. What is
closed is not answered.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BufferedIOBase
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

REQUEST_S = 10.0
WHOLE_S = 60.0
# Each has a thread and, while it is answered, some hundred kilobytes.
MOST_CONNECTIONS = 64
MOST_ANSWERED_AT_ONCE = 4
# Prometheus sends less than a thousand; Python would take 6.5 million, three times in memory.
MOST_BYTES_OF_REQUEST = 64_000
WAITING_TO_BE_ACCEPTED = 128
CONNECTION = "embedder.connection"

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(eq=False)
class _Connection:
    """One that was accepted; times are seconds of the monotonic clock."""

    socket: socket.socket
    accepted: float = field(default_factory=time.monotonic)
    deadline: float = 0.0

    def shut_down(self) -> None:
        """Ends it for whoever reads or writes it now."""
        with contextlib.suppress(OSError):
            # Not that of an SSLSocket, which would take its state away from the thread in a handshake.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class BoundedServer(ThreadingMixIn, WSGIServer):
    """One thread per connection; see the module.

    Args:
        address: Host and port.
        app: What answers.
        tls: The server's side of TLS, if it speaks it.

    Raises:
        OSError: The address cannot be had.
    """

    daemon_threads = True
    request_queue_size = WAITING_TO_BE_ACCEPTED

    def __init__(self, address: tuple[str, int], app: App, tls: ssl.SSLContext | None = None) -> None:
        self._app, self._tls = app, tls
        self._connections: dict[object, _Connection] = {}
        self._answering = 0
        # Notified of each connection that is over, and of each answer.
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.set_app(self._answer)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection; the handshake is the matter of its own thread."""
        accepted, peer = super().get_request()
        if self._tls is not None:
            accepted = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return accepted, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        """Makes room, then answers in a thread."""
        new = _Connection(request)
        new.deadline = new.accepted + REQUEST_S
        with self._changed:
            if len(self._connections) >= MOST_CONNECTIONS:
                self._forget(min(self._connections.values(), key=lambda each: each.deadline))
            self._connections[request] = new
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection."""
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def asked(self, request: object) -> bool:
        """The request of a connection is there; whether the connection is, too: its end looks like a request's."""
        with self._changed:
            if (connection := self._connections.get(request)) is not None:
                connection.deadline = connection.accepted + WHOLE_S
            return connection is not None

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers a few requests at once; who waits and is disconnected meanwhile costs nothing any more."""
        request = environ[CONNECTION]
        with self._changed:
            self._changed.wait_for(lambda: self._answering < MOST_ANSWERED_AT_ONCE or request not in self._connections)
            if request not in self._connections:
                raise ConnectionAbortedError
            self._answering += 1
        try:
            return list(self._app(environ, start_response))
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection that is over."""
        with self._changed:
            self._connections.pop(request, None)
        # The graceful end of TLS would wait for the other side.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(request, socket.SHUT_WR)
        self.close_request(request)

    def service_actions(self) -> None:
        """Called by the loop that accepts: disconnects what has taken too long."""
        now = time.monotonic()
        with self._changed:
            for each in list(self._connections.values()):
                if now > each.deadline:
                    self._forget(each)

    def server_close(self) -> None:
        """Ends every connection too."""
        with self._changed:
            for each in list(self._connections.values()):
                self._forget(each)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was closed, or that broke a rule of TLS, is no news."""

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection.socket]
        self._changed.notify_all()
        connection.shut_down()


class _Bounded:
    """The lines that a connection sends, up to a number of bytes in all."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file, self._left = file, MOST_BYTES_OF_REQUEST
        self.close = file.close

    def readline(self, size: int) -> bytes:
        """The next line, or as much of it as is asked for."""
        line = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise ConnectionAbortedError
        return line


class _Handler(WSGIRequestHandler):
    """Tells the server when the request is there; says nothing, since a scrape every few seconds is no news."""

    server: BoundedServer

    def setup(self) -> None:
        """Takes the connection."""
        super().setup()
        self.rfile = _Bounded(self.rfile)  # type: ignore[assignment]

    def parse_request(self) -> bool:
        """Reads the head of the request."""
        return super().parse_request() and self.server.asked(self.connection)

    def get_environ(self) -> dict[str, Any]:
        """What WSGI says of the request, and whose it is."""
        return {**super().get_environ(), CONNECTION: self.connection}

    def log_message(self, format: str, *args: Any) -> None: ...
