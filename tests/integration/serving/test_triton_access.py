"""Who gets what from a real server: with and without the secret, with and without a certificate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from embedder_assets.errors import EmbedderError, TritonAccessError, TritonUnavailableError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.server.access import ClientAccess, Secret, ServerAccess, TritonAddress
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings
from embedder_assets.telemetry.stage_record import StageMeter
from tests.support.servers.certificates import Authority
from tests.support.servers.served import served

MODEL, OTHER = "dense_minilm", "sparse_splade"
RESTRICTED = "protocol is restricted, expecting header 'triton-grpc-protocol-"
NOT_FOR_ALL: dict[str, Callable[[InferenceServerClient], object]] = {
    "load": lambda client: client.load_model(OTHER),
    "unload": lambda client: client.unload_model(MODEL),
    "index": lambda client: client.get_model_repository_index(),
    "system shared memory": lambda client: client.register_system_shared_memory("mine", "/mine", 8),
    "CUDA shared memory": lambda client: client.register_cuda_shared_memory("mine", b"", 0, 8),
    "statistics": lambda client: client.get_inference_statistics(MODEL),
    "trace": lambda client: client.update_trace_settings(settings={"trace_rate": "1"}),
    "logging": lambda client: client.update_log_settings({"log_verbose_level": 1}),
}


def server_of(home: Path, access: ServerAccess) -> EmbeddedTriton:
    return EmbeddedTriton(load_settings(environ={}).model_repository, home / "triton", access=access)


def asked(address: TritonAddress, access: ClientAccess) -> list[str]:
    """What a client of ours gets from a server: the models that it has loaded, one more than before."""
    client = TritonClient(TritonAddress(address.grpc, access=access), 30)
    try:
        client.ensure_loaded(MODEL)
        return client.loaded_models()
    finally:
        client.close()


def assert_nobody_else_can_do_more_than_infer(server: TritonAddress) -> None:
    for secret in (None, Secret("embedder-secret", "guessed")):
        client = TritonClient(TritonAddress(server.grpc, access=ClientAccess(secret=secret)), 30)
        assert client.infer(MODEL, [("a text",)]).rows == 1
        with pytest.raises(TritonAccessError, match="EMBEDDER_TRITON_SECRET_FILE"):
            client.ensure_loaded(OTHER)
        with pytest.raises(TritonAccessError, match="EMBEDDER_TRITON_SECRET_FILE"):
            client.ensure_unloaded(MODEL)
        for name, ask in NOT_FOR_ALL.items():
            with pytest.raises(InferenceServerException, match=RESTRICTED):
                pytest.fail(f"{name}: {ask(client._client)}")
        client.close()


def test_only_the_secret_allows_model_control(home: Path) -> None:
    secret = Secret("admin-key", "0123456789abcdef")
    with server_of(home, ServerAccess(secret=secret)) as server:
        assert asked(server.address, ClientAccess(secret=secret)) == [MODEL]
        assert_nobody_else_can_do_more_than_infer(server.address)
        assert asked(server.address, ClientAccess(secret=secret)) == [MODEL]
        assert_is_nowhere(secret, server.log_file)
        assert "Started HTTPService" not in server.log_file.read_text("utf-8")


def test_embedded_server_has_secret_and_no_http(home: Path) -> None:
    session = TritonSession(load_settings({"home": (home, "test")}, environ={}))
    try:
        list(session.infer_many(MODEL, [[("a text",)]]))
        assert session.address is not None
        assert session.address.access.secret is not None
        assert_nobody_else_can_do_more_than_infer(session.address)
        assert_is_nowhere(session.address.access.secret, *(home / "triton").rglob("*.*"))
        assert "Started HTTPService" not in next((home / "triton" / "logs").iterdir()).read_text("utf-8")
    finally:
        session.close()


def assert_is_nowhere(secret: Secret, *files: Path) -> None:
    """Neither in a file nor in a command line, as ``ps`` shows them to everybody."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.value.encode() not in path.read_bytes(), path
        except (FileNotFoundError, ProcessLookupError):
            continue
    assert files
    for file in files:
        assert secret.value.encode() not in file.read_bytes(), file


def test_runs_find_the_secret_of_serve(home: Path, tmp_path: Path) -> None:
    def infer(other: Path, **chosen: str) -> list[str]:
        session = TritonSession(load_settings({"home": (other, "test"), **{n: (v, "test") for n, v in chosen.items()}}))
        try:
            list(session.infer_many(MODEL, [[("a text",)]]))
            assert session.address is not None
            return [session.address.grpc]
        finally:
            session.close()

    with served(home) as address:
        assert infer(home) == [address.grpc]
        assert_nobody_else_can_do_more_than_infer(address)
        assert address.access.secret is not None
        assert_is_nowhere(address.access.secret, home / "serve.log", *(home / "triton" / "logs").iterdir())
        secret = home / "triton" / "secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        port = address.grpc.rpartition(":")[2]
        assert infer(home, triton_url=f"localhost:{port}") == [f"localhost:{port}"]
        assert infer(tmp_path / "elsewhere", triton_url=address.grpc, triton_secret_file=str(secret)) == [address.grpc]
        client = TritonClient(address, 30)
        client.ensure_unloaded(MODEL)
        client.close()
        with pytest.raises(TritonAccessError, match="EMBEDDER_TRITON_SECRET_FILE"):
            infer(tmp_path / "elsewhere", triton_url=address.grpc)
    assert not secret.exists()
    # Prometheus asks on, and so notices that the server is gone.
    (target,) = json.loads((home / "prometheus" / "triton.json").read_text("utf-8"))
    assert [f"http://{each}/metrics" for each in target["targets"]] == [address.metrics_url]
    with served(home) as again:
        assert again.grpc == address.grpc
        assert again.metrics_url == address.metrics_url
        assert again.access.secret not in (None, address.access.secret)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """One that server and client trust, and another one."""
    folder = tmp_path_factory.mktemp("pki")
    return Authority(folder, "trusted"), Authority(folder, "other")


@pytest.fixture
def files(home: Path, authorities: tuple[Authority, Authority]) -> dict[str, str]:
    """The settings of an authorized client."""
    home.mkdir()
    (home / "secret").write_text("embedder-secret=0123456789abcdef", "utf-8")
    return {
        "triton_tls_ca": str(authorities[0].certificate),
        "triton_tls_cert": str(authorities[0].issue("client")),
        "triton_secret_file": str(home / "secret"),
    }


@pytest.fixture
def serve(home: Path, authorities: tuple[Authority, Authority], files: dict[str, str]) -> Iterator[TritonAddress]:
    """``embedder serve`` with mutual TLS and a secret."""
    variables = {
        "EMBEDDER_SERVE_TLS_CERT": str(authorities[0].issue("server")),
        "EMBEDDER_SERVE_TLS_CLIENT_CA": str(authorities[0].certificate),
        "EMBEDDER_TRITON_SECRET_FILE": files["triton_secret_file"],
    }
    with served(home, **variables) as address:
        yield address


def test_mutual_tls_requires_a_client_certificate(
    home: Path, serve: TritonAddress, files: dict[str, str], authorities: tuple[Authority, Authority]
) -> None:
    def infer(**changed: str | None) -> int:
        chosen = {**files, "home": str(home), "triton_retry_s": "0", **changed}
        overrides = {name: (value, "test") for name, value in chosen.items() if value is not None}
        session = TritonSession(load_settings(overrides, environ={}))
        try:
            return sum(answer.rows for answer in session.infer_many(MODEL, [[("a text",)]]))
        finally:
            session.close()

    def refused(error: type[EmbedderError], words: str, **changed: str | None) -> None:
        with pytest.raises(error, match=words):
            infer(**changed)

    assert infer() == 1
    assert infer(triton_url=serve.grpc, home=str(home / "elsewhere")) == 1
    other = str(authorities[1].issue("client"))
    refused(TritonUnavailableError, "EMBEDDER_TRITON_TLS_CERT", triton_tls_cert=None)
    refused(TritonUnavailableError, "EMBEDDER_TRITON_TLS_CERT", triton_tls_cert=other)
    nothing = dict.fromkeys(("triton_tls_ca", "triton_tls_cert"))
    refused(TritonUnavailableError, "EMBEDDER_TRITON_TLS_CA", **nothing)
    refused(TritonAccessError, "EMBEDDER_TRITON_TLS_CA", triton_tls_ca=str(authorities[1].certificate))
    assert "Started HTTPService" not in Path(str(serve.log_file)).read_text("utf-8")


def test_server_that_refuses_the_client_is_ejected(
    home: Path, files: dict[str, str], authorities: tuple[Authority, Authority]
) -> None:
    certificate = authorities[0].issue("server")
    meter = StageMeter("dense", ["kb"])
    with (
        server_of(home / "tls", ServerAccess(certificate, secret=None)) as right,
        server_of(home / "no", ServerAccess(secret=None)) as no,
    ):
        chosen = {"home": str(home), "triton_url": f"{no.address.grpc},{right.address.grpc}", **files}
        session = TritonSession(load_settings({name: (value, "test") for name, value in chosen.items()}, environ={}))
        try:
            answers = session.infer_many(MODEL, [[("a text",)]] * 8, observer=meter)
            assert sum(answer.rows for answer in answers) == 8
        finally:
            session.close()
    (ejected,) = meter.record().mitigations
    assert (ejected.kind, ejected.endpoint, ejected.reason) == ("endpoint_ejected", no.address.grpc, "unauthorized")
