import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from embedder_assets.errors import SettingsError, TelemetryError
from embedder_assets.network import loopback
from embedder_assets.sanitize import SecretUrl
from embedder_assets.telemetry import emission as endpoint
from embedder_assets.telemetry.emission import EmissionStatus, emit, scrape
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS, StageMetrics
from embedder_assets.telemetry.exporter.pushgateway import push
from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics
from tests.support.factories import make_record, make_settings
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, OFF, RUN_ID, with_off


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, metrics_port=free_port())


# The endpoint


def test_endpoint_is_scraped_until_context_ends(settings):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=False) as url:
        assert scrape(url + METRICS_PATH, settings)["rag_dense_latency_seconds_count"] == 2
    with pytest.raises(ConnectionRefusedError):
        scrape(url + METRICS_PATH, settings)


def test_a_taken_port_is_named_with_the_setting(settings):
    taken = serve_metrics(run_collector(RUN_ID, []), settings, long_running=True)
    with (
        serve_metrics(run_collector(RUN_ID, []), settings, long_running=True),
        pytest.raises(TelemetryError, match=rf"127.0.0.1:{settings.metrics_port}.*EMBEDDER_METRICS_PORT"),
        taken,
    ):
        pass


def test_only_metrics_and_runs_are_served(settings):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=True) as url:
        with loopback.get(f"{url}/runs/{RUN_ID}", 5) as response:
            assert json.load(response) == {"long_running": True, "samples": dict.fromkeys(LATENCY_METRICS, 2)}
        with loopback.get(f"{url}/runs/unknown", 5) as response:
            assert json.load(response) == {"long_running": True, "samples": None}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            loopback.get(f"{url}/secrets", 5)


def test_with_a_password_nobody_reads_without_the_password(tmp_path):
    (tmp_path / "password").write_text("s3cret\n")
    chosen = {"metrics_password_file": tmp_path / "password"}
    settings = make_settings(tmp_path, metrics_port=free_port(), **chosen)
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=False) as url:
        assert scrape(url + METRICS_PATH, settings)["rag_dense_latency_seconds_count"] == 2
        for headers in ({}, {"Authorization": "Basic cHJvbWV0aGV1czp3cm9uZw=="}):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                loopback.get(url + METRICS_PATH, 5, headers=headers)
    assert emit(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key."""
    file = str(tmp_path / "pair.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=metrics"]
    key = subprocess.run([*command, "-out", file, "-keyout", "-"], check=True, capture_output=True).stdout
    Path(file).write_bytes(Path(file).read_bytes() + key)
    return {"metrics_tls_cert": file}


def test_with_a_certificate_the_endpoint_speaks_tls(tmp_path, certificate):
    settings = make_settings(tmp_path, metrics_port=free_port(), **certificate)
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=False) as url:
        assert url.startswith("https://")
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            loopback.get(url + METRICS_PATH, 5, tls=ssl.create_default_context())
    assert emit(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


@pytest.mark.parametrize(
    ("name", "words"),
    [("metrics_password_file", "a file that can be read"), ("metrics_tls_cert", "private key in one PEM file")],
)
def test_a_protection_that_cannot_work_is_refused(tmp_path, name, words):
    (tmp_path / "file").write_bytes(b"\xff" if name == "metrics_password_file" else b"x")
    settings = make_settings(tmp_path, metrics_port=free_port(), **{name: str(tmp_path / "file")})
    with (
        pytest.raises(SettingsError, match=f"{name}.*{words}"),
        serve_metrics(run_collector(RUN_ID, []), settings, long_running=True),
    ):
        pass


def test_a_password_file_that_is_missing_is_named(tmp_path):
    chosen = {"metrics_password_file": tmp_path / "nowhere"}
    settings = make_settings(tmp_path, metrics_port=free_port(), **chosen)
    with (
        pytest.raises(SettingsError, match=r"metrics_password_file.*nowhere"),
        serve_metrics(run_collector(RUN_ID, []), settings, long_running=True),
    ):
        pass


def test_scrape_bypasses_the_environment_proxy(settings, monkeypatch):
    monkeypatch.setattr(urllib.request, "_opener", None)  # keeps the proxies of its first use
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES), settings, long_running=False) as url:
        assert scrape(url + METRICS_PATH, settings)["rag_dense_latency_seconds_count"] == 2


# Emission: only what a scrape has shown


def test_samples_that_a_scrape_has_shown_are_emitted(settings):
    assert emit(settings, RUN_ID, ALL_STAGES) == {
        stage: EmissionStatus(status="emitted", metric=metric, samples=2, scrape="complete")
        for stage, metric in LATENCY_METRICS.items()
    }


@pytest.mark.parametrize(("times", "seen"), [(0, 0), (2, 4)])
def test_wrong_sample_count_is_not_emitted(settings, monkeypatch, times, seen):
    observe = StageMetrics.observe
    monkeypatch.setattr(StageMetrics, "observe", lambda self, record: [observe(self, record) for _ in range(times)])
    for status in emit(settings, RUN_ID, ALL_STAGES).values():
        assert (status.status, status.reason) == ("skipped", f"the scrape showed {seen} of 2 samples")


def test_each_emission_counts_only_its_own_run(settings):
    emit(settings, RUN_ID, ALL_STAGES)
    assert emit(settings, RUN_ID, ALL_STAGES)["dense"].samples == 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (OFF, "disabled via cli:--disable-rerank"),
        (make_record("rerank", "failed", reason="InferenceError: no"), "the stage failed"),
        (make_record("rerank"), "up to date, nothing to compute"),
    ],
)
def test_a_stage_without_samples_says_why(settings, record, reason):
    statuses = emit(settings, RUN_ID, with_off(record))
    metric = "rag_rerank_latency_seconds"
    assert statuses["rerank"] == EmissionStatus(status="skipped", metric=metric, reason=reason)
    assert statuses["dense"].status == "emitted"


def test_failed_stage_still_emits_its_samples(settings):
    record = make_record("dense", "failed", reason="x", batch_latencies_s=[0.1])
    assert emit(settings, RUN_ID, [record])["dense"].status == "emitted"


def test_a_stage_that_was_not_reached_did_not_run(settings):
    statuses = emit(settings, RUN_ID, [])
    assert {status.reason for status in statuses.values()} == {"the stage did not run"}


def test_disabled_metrics_open_no_endpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "serve_metrics", None)
    off = make_settings(tmp_path, "env:EMBEDDER_METRICS_ENABLED", metrics_enabled=False)
    statuses = emit(off, RUN_ID, with_off(OFF))
    assert statuses["dense"].reason == "metrics disabled via env:EMBEDDER_METRICS_ENABLED"
    assert statuses["rerank"].reason == OFF.reason


def test_an_exporter_that_listens_is_asked_and_not_replaced(settings):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES[:2]), settings, long_running=True):
        statuses = emit(settings, RUN_ID, ALL_STAGES)
    assert (statuses["dense"].status, statuses["dense"].scrape) == ("emitted", "complete")
    assert (statuses["rerank"].reason, statuses["rerank"].scrape) == ("the scrape showed 0 of 2 samples", "incomplete")


def test_an_exporter_of_another_instance_is_no_proof(settings):
    with serve_metrics(run_collector("another", ALL_STAGES), settings, long_running=True):
        status = emit(settings, RUN_ID, ALL_STAGES)["dense"]
    assert (status.status, status.scrape) == ("skipped", "unreachable")
    assert "it follows another Dagster instance" in status.reason


def test_endpoint_of_another_run_is_awaited(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.3)
    with serve_metrics(run_collector("another", ALL_STAGES), settings, long_running=False):
        status = emit(settings, RUN_ID, ALL_STAGES)["dense"]
    assert status.reason == (
        f"the endpoint could not be scraped: another run's endpoint stays at http://127.0.0.1:{settings.metrics_port}"
    )
    assert emit(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


def test_something_else_on_the_port_skips_with_the_reason(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "SCRAPE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(endpoint, "BUSY_S", 0.1)
    with socket.create_server(("127.0.0.1", settings.metrics_port)):
        statuses = emit(settings, RUN_ID, with_off(OFF))
    assert (statuses["dense"].status, statuses["dense"].scrape) == ("skipped", "unreachable")
    assert re.match(
        r"the endpoint could not be scraped: .* does not answer as our exporter: ", statuses["dense"].reason
    )
    assert statuses["rerank"].reason == OFF.reason


def test_foreign_address_skips_with_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.0)
    settings = make_settings(tmp_path, metrics_address="127.0.0.1", metrics_port=free_port())

    def refused(*_args, **_kwargs):
        raise TelemetryError("the endpoint", expected="a free port", got="none", remedy="None.")

    monkeypatch.setattr(endpoint, "serve_metrics", refused)
    assert "expected a free port" in emit(settings, RUN_ID, ALL_STAGES)["dense"].reason


@pytest.mark.parametrize(
    ("stage", "latencies", "reason"),
    [
        ("rerank", [], "fallback: inference_failed"),
        ("sparse", [], "lexical fallback: inference_failed"),
        ("sparse", [0.1], "lexical fallback: inference_failed"),
    ],
)
def test_a_stage_that_fell_back_says_why(settings, stage, latencies, reason):
    record = make_record(
        stage, batch_latencies_s=latencies, fallback_used=True, fallback_reason="inference_failed", reason="kb: no"
    )
    statuses = emit(settings, RUN_ID, with_off(record))
    assert (statuses[stage].status, statuses[stage].reason) == ("skipped", reason)
    assert statuses["dense"].status == "emitted"


def test_failed_reranker_still_emits_its_samples(settings):
    record = make_record("rerank", batch_latencies_s=[0.1], fallback_used=True, fallback_reason="inference_failed")
    assert emit(settings, RUN_ID, [record])["rerank"].status == "emitted"


# Push


def test_push_replaces_the_group_of_host(settings):
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


def test_a_real_pushgateway_shows_what_was_pushed(settings):
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
