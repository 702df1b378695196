"""This machine as a network: HTTP to it, and whose the ends of connections are, which its kernel knows."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path

ESTABLISHED, LISTENING = "01", "0A"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

Address = tuple[str, int]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Who has taken the port of ours sends nobody elsewhere, with a password in hand."""

    def redirect_request(self, *_: object) -> None: ...


def is_local(address: str) -> bool:
    """Whether an address, ``host:port``, is of this machine."""
    return address.startswith(("127.", "localhost:"))


def get(
    url: str, timeout_s: float, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> HTTPResponse:
    """Opens a URL of 127.0.0.1; close the answer, or use it in a ``with``.

    It goes past any proxy that the environment names, which cannot reach our loopback.

    Raises:
        OSError: Nothing answers, or it answers with an error status or a redirection.
    """
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls), _NoRedirect()
    opener = urllib.request.build_opener(*handlers)
    response: HTTPResponse = opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=timeout_s)
    return response


def owner_of_connection(client: Address, server: Address) -> int | None:
    """The user id of the client's end of a TCP connection on this machine, or None where it has been closed.

    Args:
        client: IP address and port of that end.
        server: Of our own end.
    """
    ends = _as_the_kernel_writes(*client), _as_the_kernel_writes(*server)
    for local, remote, state, user in _sockets():
        # An end that was closed has lost its user, and shows root for one.
        if state == ESTABLISHED and local.endswith(ends[0]) and remote.endswith(ends[1]):
            return user
    return None


def owners_of_listener(host: str, port: int) -> set[int]:
    """The user ids of those who listen where a connection to an address of this machine would end."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ends = tuple(_as_the_kernel_writes(str(address[0]), port) for *_, address in found)
    everywhere = tuple(_as_the_kernel_writes(address, port) for address in ("0.0.0.0", "::"))
    return {
        user
        for local, _, state, user in _sockets()
        if state == LISTENING and (local.endswith(ends) or local in everywhere)
    }


def _sockets() -> Iterator[tuple[str, str, str, int]]:
    """Both ends, state and user id of every TCP socket of this machine."""
    for table in TABLES:
        for line in table.read_text("ascii").splitlines()[1:] if table.exists() else ():
            _, local, remote, state, *others = line.split()
            yield local, remote, state, int(others[3])


def _as_the_kernel_writes(host: str, port: int) -> str:
    address = ipaddress.ip_address(host)
    # Tables of IPv6 have the same at the end, for connections of IPv4.
    packed = (getattr(address, "ipv4_mapped", None) or address).packed
    words = (packed[start : start + 4][::-1].hex().upper() for start in range(0, len(packed), 4))
    return f"{''.join(words)}:{port:04X}"
