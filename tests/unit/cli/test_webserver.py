"""The UI answers the user who started it, and nobody else."""

import asyncio
import os

import pytest
from dagster_webserver.webserver import DagsterWebserver
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from embedder_assets.cli.webserver import OwnUserOnly

ANOTHER = 65534


async def text(_):
    return PlainTextResponse("a text")


async def echo(websocket):
    await websocket.accept()
    await websocket.send_text("a text")
    await websocket.close()


def client_of(user, group=None):
    guard = Middleware(OwnUserOnly, group=group, owner=lambda client, server: user)
    return TestClient(Starlette(routes=[Route("/", text), WebSocketRoute("/ws", echo)], middleware=[guard]))


@pytest.mark.parametrize("user", [os.geteuid(), 0])
def test_own_user_and_root_are_allowed(user):
    client = client_of(user)
    assert client.get("/").text == "a text"
    with client.websocket_connect("/ws") as connection:
        assert connection.receive_text() == "a text"


@pytest.mark.parametrize("user", [ANOTHER, 12345, None])
def test_other_and_unknown_users_get_nothing(user):
    client = client_of(user)
    assert client.get("/").status_code == 403
    assert "a text" not in client.get("/").text
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
        pass


LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
        {**LINK, "sec-fetch-dest": "iframe"},
        {"origin": "https://example.org"},
        {"origin": "null"},
        {"origin": "http://testserver:8080"},
    ],
)
def test_pages_of_other_sites_get_nothing(headers):
    client = client_of(os.geteuid())
    assert client.get("/", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=headers):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        LINK,
        {"sec-fetch-site": "none", "sec-fetch-dest": "document"},
        {"sec-fetch-site": "same-origin", "origin": "https://proxied.example"},
        {"origin": "http://testserver"},
        {"origin": "http://proxied.example", "x-forwarded-host": "proxied.example"},
    ],
)
def test_own_pages_and_links_are_served(headers):
    assert client_of(os.geteuid()).get("/", headers=headers).status_code == 200


def test_a_form_of_another_site_is_refused():
    assert client_of(os.geteuid()).post("/", headers=LINK).status_code == 403


def test_nobody_claims_the_connection_of_another_one(monkeypatch):
    import uvicorn

    from embedder_assets.cli import webserver

    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setattr(DagsterWebserver, "build_middleware", DagsterWebserver.build_middleware)
    served = []
    monkeypatch.setattr(webserver, "run_webserver", lambda: served.append(uvicorn.Config(claimed_client)))
    webserver.main()
    served[0].load()
    client = TestClient(served[0].loaded_app, client=("127.0.0.1", 50000))
    assert client.get("/", headers={"x-forwarded-for": "127.0.0.1:40000"}).text == "127.0.0.1:50000"


async def claimed_client(scope, receive, send):
    await PlainTextResponse("{}:{}".format(*scope["client"]))(scope, receive, send)


def test_group_of_shared_home_is_allowed():
    import pwd

    nobody = pwd.getpwuid(ANOTHER)
    assert client_of(ANOTHER, group=nobody.pw_gid).get("/").status_code == 200
    assert client_of(ANOTHER, group=54321).get("/").status_code == 403


def test_dagster_still_builds_its_middleware_there(monkeypatch):
    from embedder_assets.cli import webserver

    built = []
    monkeypatch.setattr(webserver, "run_webserver", lambda: built.extend(DagsterWebserver.build_middleware(None)))
    original = DagsterWebserver.build_middleware
    monkeypatch.setattr(DagsterWebserver, "build_middleware", lambda self: ["Dagster's own"])
    webserver.main()
    assert built[0].cls is OwnUserOnly
    assert built[1:] == ["Dagster's own"]
    assert callable(original)
    assert asyncio.iscoroutinefunction(OwnUserOnly.__call__)
