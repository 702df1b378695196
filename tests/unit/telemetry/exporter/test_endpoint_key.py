"""The proof knows its own exporter: impostors, other homes, and endpoints that come and go."""

import contextlib
import http.server
import json
import os
import socket
import socketserver
import stat
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedder_assets.errors import TelemetryError
from embedder_assets.network import loopback
from embedder_assets.telemetry import emission as endpoint
from embedder_assets.telemetry.emission import verify_emission
from embedder_assets.telemetry.exporter import endpoint_key
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics
from tests.support.factories import make_settings
from tests.support.processes import eventually, free_port
from tests.support.stage_records import ALL_STAGES, RUN_ID


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, metrics_port=free_port())


class Impostor(http.server.BaseHTTPRequestHandler):
    """Answers as our exporter would, with whatever a run could want to see, but without the home's key."""

    proof: str | None = None

    def do_GET(self):
        counts = "".join(f"{metric}_count 2.0\n" for metric in LATENCY_METRICS.values())
        answers = {"long_running": True, "samples": dict.fromkeys(LATENCY_METRICS, 2)}
        body = (counts if self.path == METRICS_PATH else json.dumps(answers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.proof is not None:
            self.send_header("X-Embedder-Proof", self.proof)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@contextlib.contextmanager
def listening(settings, handler):
    with http.server.HTTPServer(("127.0.0.1", settings.metrics_port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("proof", [None, "", "0" * 64, "é"])
def test_an_impostor_on_the_port_is_no_proof(settings, monkeypatch, proof):
    monkeypatch.setattr(endpoint, "BUSY_S", 600.0)  # said at once
    monkeypatch.setattr(Impostor, "proof", proof)
    with listening(settings, Impostor):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert (status.status, status.scrape) == ("skipped", "unreachable")
    assert "does not answer as our exporter: the answer lacks the proof that it is of this home." in status.reason


def test_replayed_proof_is_refused(settings, tmp_path, monkeypatch):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        asked = {"X-Embedder-Challenge": "00" * 16}
        with loopback.get(url + METRICS_PATH, 5, headers=asked) as response:
            body, proof = response.read(), response.headers["X-Embedder-Proof"]
    key = endpoint_key.key_of(settings.home)
    assert endpoint_key.is_proof(proof, key, "00" * 16, METRICS_PATH, body)
    for other in [
        ("01" * 16, METRICS_PATH, body),
        ("00" * 16, "/runs/x", body),
        ("00" * 16, METRICS_PATH, body + b"1"),
    ]:
        assert not endpoint_key.is_proof(proof, key, *other)
    assert not endpoint_key.is_proof(proof, b"another key", "00" * 16, METRICS_PATH, body)
    monkeypatch.setattr(Impostor, "proof", proof)
    with listening(settings, Impostor):
        assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].scrape == "unreachable"


def test_an_exporter_of_another_home_is_no_proof(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 600.0)  # said at once
    other = make_settings(tmp_path / "other", metrics_port=settings.metrics_port)
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), other, long_running=True):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert status.scrape == "unreachable"
    assert "an exporter of another home has to have another port" in status.reason


def test_endpoint_of_another_home_is_awaited(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 60.0)
    other = make_settings(tmp_path / "other", metrics_port=settings.metrics_port)
    with ThreadPoolExecutor(1) as thread:
        with serve_metrics(run_collector(RUN_ID, ALL_STAGES), other, long_running=False):
            emitted = thread.submit(verify_emission, settings, RUN_ID, ALL_STAGES)
            time.sleep(0.3)
            assert not emitted.done()
        assert emitted.result(60)["dense"].status == "emitted"


def test_key_is_private_and_never_sent(settings):
    seen = []

    class Listener(Impostor):
        def do_GET(self):
            seen.append(str(self.headers))
            super().do_GET()

    with listening(settings, Listener):
        verify_emission(settings, RUN_ID, ALL_STAGES)
    file = settings.home / "metrics-proof.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert seen
    assert not any(file.read_text() in each for each in seen)


LISTEN = """
import os, socket, sys
import encodings.idna  # while the interpreter's files can be read
os.setgid(65534) or os.setuid(65534)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
server.settimeout(float(sys.argv[2]))
try:
    print(server.accept()[0].recv(1000), flush=True)
except TimeoutError:
    print("nobody came", flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_on_the_port_gets_no_password(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.3)
    (tmp_path / "password").write_text("s3cret\n")
    chosen = {"metrics_password_file": tmp_path / "password"}
    settings = make_settings(tmp_path, metrics_port=free_port(), **chosen)
    command = [sys.executable, "-c", LISTEN, str(settings.metrics_port), "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as squatter:
        assert squatter.stdout.readline() == "listening\n"
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
        assert squatter.stdout.readline() == "nobody came\n"
    assert status.scrape == "unreachable"
    assert "user 65534 of this machine listens there" in status.reason


def test_a_redirection_is_not_followed(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 600.0)  # said at once
    asked = []

    class Elsewhere(Impostor):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

    with listening(settings, Elsewhere):
        assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].scrape == "unreachable"
    assert asked == [METRICS_PATH]


def test_runs_that_begin_at_once_make_one_key(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(endpoint_key.key_of, [tmp_path / "home"] * 64))
    assert len(keys) == 1
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["metrics-proof.key"]


@pytest.mark.parametrize("content", ["", "abc", "no digits", "00" * 31])
def test_a_damaged_key_is_named_with_the_remedy(settings, content):
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "metrics-proof.key").write_text(content)
    with pytest.raises(TelemetryError, match=r"metrics-proof\.key.*remove it"):
        endpoint_key.key_of(settings.home)


def test_recreated_home_is_proved(settings):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True):
        (settings.home / "metrics-proof.key").unlink()
        assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


class Interrupted(http.server.BaseHTTPRequestHandler):
    """Ends each connection in one of the ways in which an endpoint that goes down does."""

    way = "reset"

    def do_GET(self):
        if self.way == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif self.way == "cut short":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
        elif self.way == "an error of the server":
            self.send_error(500)
        # and otherwise: closed without a word

    def handle_one_request(self):
        with contextlib.suppress(OSError, ValueError):
            super().handle_one_request()

    def finish(self):
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_args):
        pass


@pytest.mark.parametrize("way", ["reset", "cut short", "an error of the server", "closed"])
def test_an_endpoint_that_goes_down_is_asked_again(settings, monkeypatch, way):
    monkeypatch.setattr(endpoint, "BUSY_S", 60.0)
    monkeypatch.setattr(Interrupted, "way", way)
    looks = []
    look = endpoint._scrape_run

    def looked(*args):
        looks.append(args)
        return look(*args)

    monkeypatch.setattr(endpoint, "_scrape_run", looked)
    with ThreadPoolExecutor(1) as thread:
        with listening(settings, Interrupted):
            emitted = thread.submit(verify_emission, settings, RUN_ID, ALL_STAGES)
            assert eventually(lambda: len(looks) > 2 or emitted.done(), 30)
        assert emitted.result(60)["dense"].status == "emitted"


def test_what_never_answers_is_named_at_the_deadline(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.3)
    with listening(settings, Interrupted):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert status.scrape == "unreachable"
    assert "does not answer as our exporter: " in status.reason


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 401 Unauthorized\r\n\r\n", b"\x00\xff\n"])
def test_other_service_on_port_is_named_immediately(settings, monkeypatch, answer):
    monkeypatch.setattr(endpoint, "BUSY_S", 600.0)

    class Other(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            self.request.sendall(answer)

    with listening(settings, Other):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert status.scrape == "unreachable"
    assert "does not answer as our exporter: " in status.reason


def test_two_runs_at_once_are_both_proved(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 60)  # a slow machine is not what is tested
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda number: verify_emission(settings, f"run-{number}", ALL_STAGES), range(8)))
    assert {status.status for result in results for status in result.values()} == {"emitted"}
