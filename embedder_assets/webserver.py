"""Dagster's webserver, for the user who started it: others of this machine are refused.

Dagster's UI has no passwords. Whoever reaches it reads the previews of texts, and starts runs that read any folder
which the operator may read. The kernel knows whose the other end of a connection on this machine is.

Usage: ``python -m embedder_assets.webserver``, with the options of ``dagster-webserver``.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dagster_webserver.cli import main as run_webserver
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from embedder_assets.permissions import group_of
from embedder_assets.settings import load_settings

ESTABLISHED = "01"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
REFUSAL = "This is another user's Dagster; see docs/security.md of embedder-assets.\n"

Address = tuple[str, int]


class OwnUserOnly:
    """Refuses requests over connections of other users.

    Args:
        app: What answers the others.
        group: The group of a state folder that is shared: its members are authorized too.
        owner: Gives the user id of the client's end of a connection, or None where it is not known.
    """

    def __init__(self, app: ASGIApp, group: int | None, owner: Callable[[Address, Address], int | None]) -> None:
        self._app, self._group, self._owner = app, group, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "lifespan" or self._is_authorized(scope.get("client"), scope.get("server")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "another user's"})
        else:
            await PlainTextResponse(REFUSAL, 403)(scope, receive, send)

    def _is_authorized(self, client: Address | None, server: Address | None) -> bool:
        user = self._owner(client, server) if client and server else None
        return user is not None and (user in (0, os.geteuid()) or self._group in _groups_of(user))


def owner_of_connection(client: Address, server: Address) -> int | None:
    """The user id of the client's end of a TCP connection on this machine, or None where it has been closed.

    Args:
        client: IPv4 address and port of that end.
        server: Of our own end.
    """
    ends = [_as_the_kernel_writes(*client), _as_the_kernel_writes(*server)]
    for table in TABLES:
        for line in table.read_text("ascii").splitlines()[1:] if table.exists() else ():
            _, local, remote, state, *others = line.split()
            # An end that was closed has lost its user, and shows root for one.
            if state == ESTABLISHED and local.endswith(ends[0]) and remote.endswith(ends[1]):
                return int(others[3])
    return None


def main() -> None:
    """Runs ``dagster-webserver`` with the guard in front."""
    guard = Middleware(OwnUserOnly, group=group_of(load_settings().home), owner=owner_of_connection)
    dagsters_own = DagsterWebserver.build_middleware
    DagsterWebserver.build_middleware = lambda self: [guard, *dagsters_own(self)]  # type: ignore[method-assign]
    run_webserver()  # type: ignore[no-untyped-call]


def _as_the_kernel_writes(host: str, port: int) -> str:
    # Tables of IPv6 have the same at the end, for connections of IPv4.
    return f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"


def _groups_of(user: int) -> set[int]:
    with suppress(KeyError):
        found = pwd.getpwuid(user)
        return set(os.getgrouplist(found.pw_name, found.pw_gid))
    return set()


if __name__ == "__main__":
    main()
