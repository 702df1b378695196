"""The HTTP side of a metrics endpoint: ``/metrics`` for Prometheus and ``/runs/<run_id>`` for the run itself.

The second says how many samples a run has added to the histograms that the first shows, since metrics have no run id
for a label. On 127.0.0.1 unless a setting says otherwise; basic authentication and TLS where the settings ask for them.
Connections are those of ``connections.py``: none of them keeps a scrape from its answer.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from embedder_assets.errors import TelemetryError
from embedder_assets.network.tls import load_pair, read_named
from embedder_assets.settings import Settings
from embedder_assets.telemetry.exporter.collector import RecordCollector
from embedder_assets.telemetry.exporter.connections import App, BoundedServer
from embedder_assets.telemetry.exporter.endpoint_key import key_of, with_proof
from embedder_assets.telemetry.exporter.shared_scrape import SharedScrape

METRICS_PATH = "/metrics"
RUNS_PATH = "/runs/"
REALM = "embedder-assets metrics"
USER = "prometheus"  # nothing depends on who scrapes; the password is the secret


@contextlib.contextmanager
def serve_metrics(
    collector: RecordCollector, settings: Settings, *, long_running: bool, extra: Collector | None = None
) -> Iterator[str]:
    """Serves a collector while the context lasts, and gives the base address to reach it at.

    Args:
        collector: What is serving.
        settings: Address, port, authentication and TLS.
        long_running: Whether it is the long-running exporter, as it tells those who ask for a run.
        extra: Served at ``/metrics`` too.

    Raises:
        TelemetryError: The port is taken, or the home's key cannot be read.
        SettingsError: A file of the password or of TLS cannot be used.
    """
    key_of(settings.home)  # one that cannot be used is said now
    app = _protected(with_proof(_routes(collector, extra, long_running=long_running), settings.home), settings)
    tls = _server_tls(settings)
    address, port = settings.metrics_address, settings.metrics_port
    try:
        server = BoundedServer((address, port), app, tls)
    except OSError as error:
        raise TelemetryError(
            f"the metrics endpoint on {address}:{port}",
            expected="a free port",
            got=str(error),
            remedy="End what listens there (`ss -ltnp` names it), or set EMBEDDER_METRICS_PORT.",
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield base_url(settings)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def base_url(settings: Settings) -> str:
    """Where this machine reaches the metrics endpoint."""
    everywhere = settings.metrics_address in ("0.0.0.0", "::")
    host = "127.0.0.1" if everywhere else settings.metrics_address
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.metrics_tls_cert else 'http'}://{host}:{settings.metrics_port}"


def request_headers(settings: Settings) -> dict[str, str]:
    """What a request to the endpoint has to carry."""
    authorization = _authorization(settings)
    return {"Authorization": authorization} if authorization else {}


def client_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS of a request to the endpoint on this machine: the very certificate is trusted, whatever name it is for."""
    if settings.metrics_tls_cert is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.metrics_tls_cert))
    context.check_hostname = False
    return context


def _routes(collector: RecordCollector, extra: Collector | None, *, long_running: bool) -> App:
    registry = CollectorRegistry()
    registry.register(SharedScrape([each for each in (collector, extra) if each is not None]))
    exposition = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(RUNS_PATH):
            samples = collector.samples_of_run(path.removeprefix(RUNS_PATH))
            body = json.dumps({"long_running": long_running, "samples": samples}).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        if path != METRICS_PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics has the metrics\n"]
        answer: Iterable[bytes] = exposition(environ, start_response)
        return answer

    return app


def _protected(app: App, settings: Settings) -> App:
    expected = _authorization(settings)
    if expected is None:
        return app

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), expected.encode()):
            return app(environ, start_response)
        challenge = ("WWW-Authenticate", f'Basic realm="{REALM}"')
        start_response("401 Unauthorized", [challenge, ("Content-Type", "text/plain")])
        return [b"user and password, please\n"]

    return guarded


def _authorization(settings: Settings) -> str | None:
    if settings.metrics_password_file is None:
        return None
    password = read_named(settings.metrics_password_file, "metrics_password_file").strip()
    return f"Basic {base64.b64encode(f'{USER}:{password}'.encode()).decode()}"


def _server_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.metrics_tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, settings.metrics_tls_cert, "metrics_tls_cert")
    return context
