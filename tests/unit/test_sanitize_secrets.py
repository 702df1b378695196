"""Secrets in URLs, wherever they are set and whoever quotes them."""

from __future__ import annotations

import http.server
import json
import threading
from base64 import b64encode
from pathlib import Path

import pytest

from embedder_assets.assets.processing_summary import run_links
from embedder_assets.cli.doctor import examine
from embedder_assets.errors import EmbedderError, SettingsError
from embedder_assets.sanitize import SecretUrl, redact
from embedder_assets.serving.server.embedded import _server_environment, _tracing
from embedder_assets.settings import FIELDS, load_settings
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.pushgateway import push
from embedder_assets.telemetry.otlp import export
from tests.support.processes import free_ports

SECRET = "S3cr3tW0rd"
URLS = [
    f"http://user:{SECRET}@host.test:9091/x",
    f"https://user:{SECRET}/with@signs:{SECRET}@host.test/x",
    f"http://{SECRET}@host.test/x",
    f"http://host.test/x?token={SECRET}",
    f"http://host.test/x?a=1&X-Amz-Signature={SECRET}&b={{trace_id}}",
    f"http://host.test/x?api_key={SECRET}#f",
    f"http://host.test/x#access_token={SECRET}",
]
# A quote in it ends what a message can be seen to quote.
QUOTED = [
    f"http://user:a'{SECRET}@host.test",
    f'http://{SECRET}"a@host.test',
    f"http://host.test/?token=a<{SECRET}&b=1",
]


@pytest.mark.parametrize("url", URLS + QUOTED)
def test_a_secret_url_never_prints_itself(url: str) -> None:
    hidden = SecretUrl(url)
    for shown in (str(hidden), repr(hidden), f"{hidden}", f"{[hidden]}", hidden.shareable, str({"url": hidden})):
        assert SECRET not in shown
        assert "host.test" in shown
    assert hidden.reveal() == url
    assert hidden == SecretUrl(url)


@pytest.mark.parametrize("url", URLS)
def test_a_message_that_quotes_a_url_is_redacted(url: str) -> None:
    assert SECRET not in redact(f"cannot open '{url}': refused")


@pytest.mark.parametrize("url", QUOTED)
def test_a_known_url_with_quotes_is_redacted(url: str) -> None:
    assert SECRET not in redact(f"cannot open {SecretUrl(url).reveal()}: refused")
    assert SecretUrl(url).address.startswith("http://host.test")


@pytest.mark.parametrize("url", URLS)
def test_an_error_that_quotes_a_url_is_redacted(url: str) -> None:
    assert SECRET not in str(EmbedderError("x", expected="y", got=f"HTTPError for {url}", remedy="z"))


def test_a_part_that_a_library_quotes_is_redacted() -> None:
    SecretUrl("http://user:p%40ss-w0rd@host.test")
    assert redact("nonnumeric port: 'p%40ss-w0rd@host.test'") == "nonnumeric port: '***@host.test'"
    assert redact("login failed for p@ss-w0rd") == "login failed for ***"


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8000/v2/models", "a@b.example and key=value", "https://h/p?x=1&page=2", "s3://bucket/a"]
)
def test_texts_without_a_secret_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("scheme", ["postgresql", "amqp", "redis", "s3", "postgresql+psycopg2"])
def test_addresses_of_databases_and_brokers_are_redacted(scheme: str) -> None:
    assert redact(f"{scheme}://me:{SECRET}@h:1/db") == f"{scheme}://***@h:1/db"


URL_SETTINGS = [name for name in FIELDS if name.endswith("_url") or name == "links"]


@pytest.mark.parametrize("name", URL_SETTINGS)
def test_no_setting_shows_its_secret(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for url in (*URLS, f"{SECRET}:{SECRET}@host:1", f"s3://{SECRET}:{SECRET}@bucket/x", f"http:// {SECRET}@host"):
        environ = {f"EMBEDDER_{name.upper()}": f"a={url}" if name == "links" else url, "EMBEDDER_HOME": str(tmp_path)}
        try:
            settings = load_settings(environ=environ)
        except SettingsError as error:
            said += [str(error), repr(error), str(error.__cause__)]
            assert f"'{name}'" in str(error)
            continue
        said += [repr(settings), str(settings), settings.model_dump_json(), str(settings.describe(name))]
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none"))
        said += [str(finding) for finding in examine(settings)]
        said += [str(value) for value in run_links(settings, "0" * 32, tmp_path).values()]
        said += _tracing(settings.triton_trace_url)
    assert said
    assert not [each for each in said if SECRET in each]


def test_server_gets_trace_address_by_environment(tmp_path: Path) -> None:
    url = SecretUrl(URLS[0])
    assert _server_environment(tmp_path, url)["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == URLS[0]
    assert not any("url=" in option for option in _tracing(url))


def test_pushgateway_gets_credentials_in_a_header() -> None:
    asked: list[str | None] = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if len(asked) == 1 else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = SecretUrl(f"http://me:p%40ss{SECRET}@127.0.0.1:{server.server_port}")
    try:
        assert push(run_collector("r", []), url) is None
        problem = push(run_collector("r", []), url)
    finally:
        server.shutdown()
        server.server_close()
    assert asked[0] == f"Basic {b64encode(f'me:p@ss{SECRET}'.encode()).decode()}"
    assert problem is not None
    assert (SECRET in problem, "401" in problem) == (False, True)


@pytest.mark.parametrize("host", ["127.0.0.1:nothing", "[::1", "127.0.0.1:{port}"])
def test_failed_push_warns_without_password(host: str) -> None:
    (port,) = free_ports(1)
    problem = push(run_collector("r", []), SecretUrl(f"http://me:{SECRET}@{host.format(port=port)}/?token={SECRET}2"))
    assert problem is not None
    assert SECRET not in problem


def test_an_unreachable_collector_is_named_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"no pair {SECRET}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        report = export([], environ)
    assert SECRET not in json.dumps(report.model_dump())
    assert SECRET not in caplog.text
