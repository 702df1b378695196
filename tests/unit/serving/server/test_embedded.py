"""What a published Triton leaves in its home: ports for the next one, and an address that is nobody else's."""

import json
import os
import socket
import threading
from contextlib import closing, suppress

import pytest

from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ClientAccess, Secret
from embedder_assets.serving.server.embedded import _free_ports, _last_ports, configured_address, find_running
from tests.support.factories import make_settings
from tests.support.processes import free_ports

SECRET = Secret("embedder-secret", "0123456789abcdef")


@pytest.fixture
def standard(monkeypatch):
    ports = dict(zip(("grpc", "metrics"), free_ports(2), strict=True))
    monkeypatch.setattr(embedded, "STANDARD_PORTS", ports)
    return ports


def test_published_server_reuses_its_ports(standard):
    last = dict(zip(standard, free_ports(2), strict=True))
    assert _free_ports({}, reuse_ports=True) == _free_ports({}, reuse_ports=False) == standard
    assert _free_ports(last, reuse_ports=True) == last
    assert _free_ports(standard, reuse_ports=True) == standard
    assert set(_free_ports(standard, reuse_ports=False).values()).isdisjoint(standard.values())


def test_taken_port_is_not_reused(standard):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        last = {"grpc": other.getsockname()[1], "metrics": standard["metrics"]}
        assert _free_ports(last, reuse_ports=True) == standard


def test_servers_that_lost_a_race_spread_over_the_ports():
    chosen = [_free_ports({}, reuse_ports=False, after_race=True) for _ in range(20)]
    assert len({ports["grpc"] for ports in chosen}) > 10
    assert all(ports["grpc"] != ports["metrics"] for ports in chosen)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"grpc": "x", "metrics": 1}', '{"grpc": 1}'])
def test_unreadable_ports_are_ignored(tmp_path, content):
    (tmp_path / "ports.json").write_text(content)
    assert _last_ports(tmp_path) == {}
    assert _last_ports(tmp_path / "nowhere") == {}


@pytest.fixture
def published(tmp_path):
    """A home in which a server is published, which is this process; gives settings, port and what is published."""
    settings = make_settings(tmp_path)
    state = settings.home / "triton"
    state.mkdir(parents=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            with suppress(OSError):  # closed at the end of the test
                while True:
                    server.accept()

        threading.Thread(target=accept, daemon=True).start()
        port = server.getsockname()[1]
        content = {"pid": os.getpid(), "started": embedded._start_of(os.getpid()), "grpc": f"127.0.0.1:{port}"}
        (state / "server.json").write_text(json.dumps(content))
        (state / "secret").write_text(SECRET.line)
        yield settings, port, content


def test_published_server_is_found_with_secret(published):
    settings, port, _ = published
    found = find_running(settings.home / "triton")
    assert (found.grpc, found.access) == (f"127.0.0.1:{port}", ClientAccess(secret=SECRET))


def test_reused_process_id_is_no_server(published):
    settings, _, content = published
    (settings.home / "triton" / "server.json").write_text(json.dumps({**content, "started": "1"}))
    assert find_running(settings.home / "triton") is None


def test_secret_goes_to_own_server_only(published):
    settings, port, _ = published
    assert configured_address(settings, f"127.0.0.1:{port}").access.secret == SECRET
    assert configured_address(settings, f"localhost:{port}").access.secret == SECRET
    assert configured_address(settings, f"elsewhere:{port}").access.secret is None
    assert configured_address(settings, f"127.0.0.1:{port + 1}").access.secret is None


def test_unreadable_secret_means_no_server(published):
    settings, _, _ = published
    (settings.home / "triton" / "secret").write_text("no secret")
    assert find_running(settings.home / "triton") is None
