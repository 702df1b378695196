"""Nobody's connections keep a scrape from its answer: real sockets against the server of the metrics endpoint."""

import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

from embedder_assets.network import loopback
from embedder_assets.telemetry.emission import verify_emission
from embedder_assets.telemetry.exporter import connections
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.connections import BoundedServer
from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics
from tests.support.factories import make_settings
from tests.support.processes import eventually, free_port
from tests.support.servers.certificates import Authority
from tests.support.stage_records import ALL_STAGES, RUN_ID

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
HALF_A_HEAD = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"
MUCH = 50_000_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"), "ca")


@pytest.fixture
def tls_settings(authority, tmp_path):
    return make_settings(tmp_path, metrics_port=free_port(), metrics_tls_cert=authority.issue("exporter"))


@pytest.fixture
def scraped(authority):
    """Whether a scrape gets the metrics."""

    def scrape(url):
        tls = ssl.create_default_context(cafile=str(authority.certificate))
        tls.check_hostname = False
        with loopback.get(url + METRICS_PATH, 5, tls=tls) as response:
            return b"rag_dense_latency_seconds_count" in response.read()

    return scrape


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def settings(request, tmp_path, tls_settings):
    return tls_settings if request.param else make_settings(tmp_path, metrics_port=free_port())


@pytest.fixture
def short_times(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    monkeypatch.setattr(connections, "WHOLE_S", 1.0)


@contextmanager
def opened(port: int, count: int, *, sending: bytes = b""):
    """Connections that send something, or nothing, and then wait."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            found.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
            found[-1].sendall(sending)
        yield found


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; waits for that up to the socket's own limit."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "sending", [b"", HALF_A_HEAD, HELLO, b"G"], ids=["nothing", "half a head", "half a hello", "G"]
)
def test_stalled_connections_are_closed(settings, short_times, scraped, sending):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        assert scraped(url)
        with opened(settings.metrics_port, 8, sending=sending) as standing:
            assert scraped(url)
            assert all(closed(each) for each in standing)
        assert scraped(url)


@pytest.mark.parametrize(
    "sent", [b"GET /" + b"a" * 65000, b"GET / HTTP/1.1\r\n" + b"A: " + b"a" * 30000 + b"\r\nB: " + b"a" * 34000]
)
def test_endless_request_is_closed(settings, scraped, sent):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        with opened(settings.metrics_port, 1) as (endless,):
            with suppress(OSError):
                endless.sendall(sent)
            if settings.metrics_tls_cert is None:
                endless.settimeout(3)
                assert closed(endless)
        assert scraped(url)


@pytest.mark.parametrize("address", ["::1", "::"])
def test_metrics_are_served_over_ipv6_too(tmp_path, scraped, address):
    settings = make_settings(tmp_path, metrics_port=free_port(), metrics_address=address)
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        assert scraped(url)
        assert scraped(f"http://[::1]:{settings.metrics_port}")
    assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


def test_500_idle_connections_stop_no_scrape(settings, scraped):
    before = threading.active_count()
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        with opened(settings.metrics_port, 250) as first, opened(settings.metrics_port, 250, sending=HALF_A_HEAD):
            assert scraped(url)
            assert eventually(lambda: threading.active_count() <= before + 1 + connections.MOST_CONNECTIONS)
            assert closed(first[0])
        assert scraped(url)


def test_trickled_bytes_keep_no_connection_open(settings, short_times):
    with (
        serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True),
        opened(settings.metrics_port, 1) as (slow,),
    ):
        with pytest.raises(OSError, match=r"\w"):
            for _ in range(200):
                slow.sendall(b"x")
                time.sleep(0.02)
        assert closed(slow)


@contextmanager
def serving(app):
    server = BoundedServer(("127.0.0.1", 0), app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def long_answer(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * (MUCH if environ["PATH_INFO"] == "/much" else 1)]


def test_clients_that_never_read_are_closed(short_times):
    asking = b"GET /much HTTP/1.1\r\n\r\n"
    with serving(long_answer) as port, opened(port, connections.MOST_CONNECTIONS // 8, sending=asking) as slow:
        with loopback.get(f"http://127.0.0.1:{port}/", 5) as response:
            assert response.read() == b"x"
        time.sleep(1.5)
        for each in slow:
            received = 0
            with pytest.raises((ConnectionResetError, EOFError)):
                while chunk := each.recv(1 << 20):
                    received += len(chunk)
                raise EOFError
            assert received < MUCH


def test_pending_requests_survive_new_connections():
    ready, go = threading.Event(), threading.Event()

    def app(_, start_response):
        ready.set()
        go.wait(20)
        start_response("200 OK", [])
        return [b"done"]

    with serving(app) as port, opened(port, 1, sending=b"GET / HTTP/1.1\r\n\r\n") as (asking,):
        assert ready.wait(10)
        with opened(port, 3 * connections.MOST_CONNECTIONS):
            go.set()
            assert b"done" in b"".join(iter(lambda: asking.recv(4096), b""))


def test_aborted_handshake_is_not_logged(tls_settings, scraped, capfd):
    port = tls_settings.metrics_port
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), tls_settings, long_running=True) as url:
        strict = ssl.create_default_context()
        with opened(port, 1) as (raw,), pytest.raises(ssl.SSLError):
            strict.wrap_socket(raw, server_hostname="localhost")
        with opened(port, 1, sending=b"GET / HTTP/1.1\r\n\r\n") as (plain,):
            assert closed(plain)
        assert scraped(url)
    assert capfd.readouterr().err == ""


def test_request_with_partial_head_is_not_answered():
    answered = []

    def app(environ, start_response):
        answered.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"done"]

    with (
        serving(app) as port,
        opened(port, 2 * connections.MOST_CONNECTIONS, sending=b"GET /half HTTP/1.1\r\nA: b\r\n"),
    ):
        with loopback.get(f"http://127.0.0.1:{port}/whole", 5) as response:
            assert response.read() == b"done"
        assert answered == ["/whole"]


def test_threads_of_closed_waiting_requests_end():
    go, before = threading.Event(), threading.active_count()

    def app(_, start_response):
        go.wait(20)
        start_response("200 OK", [])
        return [b"done"]

    asking = b"GET / HTTP/1.1\r\n\r\n"
    try:
        with serving(app) as port, opened(port, 3 * connections.MOST_CONNECTIONS, sending=asking):
            most = before + 1 + connections.MOST_CONNECTIONS + connections.MOST_ANSWERED_AT_ONCE
            assert eventually(lambda: threading.active_count() <= most)
            go.set()
    finally:
        go.set()
