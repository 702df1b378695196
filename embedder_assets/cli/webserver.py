"""Dagster's webserver, for the user who started it: others of this machine are refused.

Dagster's UI has no passwords. Whoever reaches it reads the previews of texts, and starts runs that read any folder
which the operator may read. The kernel knows whose the other end of a connection on this machine is. The operator's own
browser is asked which site sends a request: Dagster takes mutations in the address, and WebSockets from any page.

Usage: ``python -m embedder_assets.cli.webserver``, with the options of ``dagster-webserver``.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from dagster_webserver.cli import main as run_webserver
from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from embedder_assets.network.loopback import Address, owner_of_connection
from embedder_assets.permissions import group_of
from embedder_assets.settings import load_settings

SAME_SITE = ("same-origin", "none")
REFUSAL = "This is another user's Dagster; see docs/security.md of embedder-assets.\n"
FOREIGN_PAGE = "A page of another site has sent this; see docs/security.md of embedder-assets.\n"


class OwnUserOnly:
    """Refuses requests over connections of other users, and those that pages of other sites send.

    Args:
        app: What answers the others.
        group: The group of a state folder that is shared: its members are authorized too.
        owner: Gives the user id of the client's end of a connection, or None where it is not known.
    """

    def __init__(self, app: ASGIApp, group: int | None, owner: Callable[[Address, Address], int | None]) -> None:
        self._app, self._group, self._owner = app, group, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._is_authorized(scope.get("client"), scope.get("server")):
            await _refuse(REFUSAL, scope, receive, send)
        elif _is_of_another_site(scope):
            await _refuse(FOREIGN_PAGE, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_authorized(self, client: Address | None, server: Address | None) -> bool:
        user = self._owner(client, server) if client and server else None
        return user is not None and (user in (0, os.geteuid()) or self._group in _groups_of(user))


def main() -> None:
    """Runs ``dagster-webserver`` with the guard in front."""
    # uvicorn would put the address that a client claims (X-Forwarded-For) in the place of the connection's own.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    guard = Middleware(OwnUserOnly, group=group_of(load_settings().home), owner=owner_of_connection)
    dagsters_own = DagsterWebserver.build_middleware
    DagsterWebserver.build_middleware = lambda self: [guard, *dagsters_own(self)]  # type: ignore[method-assign]
    run_webserver()  # type: ignore[no-untyped-call]


async def _refuse(why: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why.partition(";")[0]})
    else:
        await PlainTextResponse(why, 403)(scope, receive, send)


def _is_of_another_site(scope: Scope) -> bool:
    """Whether a browser says that a page of another site sends this; that somebody follows a link is no harm."""
    headers = Headers(scope=scope)
    if (site := headers.get("sec-fetch-site")) is not None:
        followed = scope.get("method") == "GET" and headers.get("sec-fetch-dest") == "document"
        return site not in SAME_SITE and not followed
    if (origin := headers.get("origin")) is None:
        return False
    return urlsplit(origin).netloc not in (headers.get("host"), headers.get("x-forwarded-host"))


def _groups_of(user: int) -> set[int]:
    with suppress(KeyError):
        found = pwd.getpwuid(user)
        return set(os.getgrouplist(found.pw_name, found.pw_gid))
    return set()


if __name__ == "__main__":
    main()
