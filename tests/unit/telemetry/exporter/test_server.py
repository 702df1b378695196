"""The endpoint that serves the metrics: what it serves, to whom, and what it refuses."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from embedder_assets.errors import SettingsError, TelemetryError
from embedder_assets.network import loopback
from embedder_assets.telemetry.emission import scrape, verify_emission
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics
from tests.support.factories import make_settings
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, RUN_ID


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, metrics_port=free_port())


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
    assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


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
    assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


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
