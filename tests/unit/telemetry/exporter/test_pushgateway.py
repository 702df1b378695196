"""Metrics pushed to a gateway, a stand-in and a real one."""

import http.server
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from embedder_assets.network import loopback
from embedder_assets.sanitize import SecretUrl
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.pushgateway import push
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, RUN_ID


def test_push_replaces_the_group_of_host():
    bodies = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.handle_request).start()
        assert push(run_collector(RUN_ID, ALL_STAGES), SecretUrl(f"http://127.0.0.1:{gateway.server_port}")) is None
    ((path, text),) = bodies
    assert path == f"/metrics/job/embedder_assets/instance/{socket.gethostname()}"
    assert "rag_dense_latency_seconds_count 2.0" in text
    assert RUN_ID not in path + text


def test_a_real_pushgateway_shows_what_was_pushed():
    binary = shutil.which("prometheus-pushgateway")
    if binary is None:
        pytest.skip("needs prometheus-pushgateway (Debian's package), which .ci/run installs")
    port = free_port()
    process = subprocess.Popen([binary, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while push(run_collector(RUN_ID, ALL_STAGES), SecretUrl(url)) is not None and time.monotonic() < deadline:
            time.sleep(0.1)
        # A second push: a gateway replaces a group and adds nothing up.
        assert push(run_collector(RUN_ID, ALL_STAGES), SecretUrl(url)) is None
        with loopback.get(f"{url}/metrics", 5) as response:
            lines = response.read().decode().splitlines()
    finally:
        process.terminate()
        process.wait()
    (count,) = (line for line in lines if line.startswith("rag_dense_latency_seconds_count{"))
    assert count.endswith("} 2")
    assert 'job="embedder_assets"' in count


def test_unreachable_gateway_is_named():
    url = f"http://127.0.0.1:{free_port()}"
    assert re.match(f"metrics were not pushed to {url}: .*refused", push(run_collector(RUN_ID, []), SecretUrl(url)))
