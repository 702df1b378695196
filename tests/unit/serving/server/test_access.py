"""Certificates and secrets of Triton: what settings may name, what a server is started with, what nobody is shown."""

import re

import pytest

from embedder_assets.errors import SettingsError, TritonAccessError, TritonUnavailableError
from embedder_assets.serving.client.grpc import _errors_of
from embedder_assets.serving.server.access import ClientAccess, Secret, ServerAccess, TritonAddress
from tests.support.factories import make_settings
from tests.support.servers.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "ca")


def test_default_server_has_secret_without_http(tmp_path):
    settings = make_settings(tmp_path)
    assert ClientAccess.of(settings) == ClientAccess()
    first, second = ServerAccess.of(settings), ServerAccess.of(settings)
    assert len(first.secret.value) == 64
    assert len({each.secret.value for each in (first, second, ServerAccess(), ServerAccess())}) == 4
    assert first.options() == ["--allow-http=false"]
    (only,) = first.secret_options()
    assert only.endswith(f":{first.secret.line}")
    assert ServerAccess(secret=None).secret_options() == []


def test_secret_from_file_is_never_shown(tmp_path):
    file = tmp_path / "secret"
    file.write_text("admin-key=s3cr.et+/~0123456789\n", "utf-8")
    secret = ClientAccess.of(make_settings(tmp_path, triton_secret_file=file)).secret
    assert secret.headers == {"triton-grpc-protocol-admin-key": "s3cr.et+/~0123456789"}
    assert "s3cr" not in repr(secret)
    assert "s3cr" not in repr(TritonAddress("host:1", access=ClientAccess(secret=secret)))
    assert Secret.random() != Secret.random()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "s3cret",
        "=s3cret",
        "Name=s3cret0123456789",
        "a=s3cret0123456789,b",
        "a=s3cret 0123456789",
        "a=s3cret0123456789\nb=c",
    ],
)
def test_invalid_secret_file_is_not_shown(tmp_path, content):
    file = tmp_path / "secret"
    file.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=r"'triton_secret_file'.*name=value") as caught:
        Secret.read(file)
    assert "s3" not in str(caught.value).replace(str(file), "")


@pytest.mark.parametrize("name", ["triton_tls_ca", "triton_tls_cert", "triton_secret_file"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_unusable_client_file_names_the_setting(tmp_path, authority, name, content):
    files = {"triton_tls_ca": authority.certificate, "triton_tls_cert": authority.issue("client")}
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=name):
        ClientAccess.of(make_settings(tmp_path, **{**files, name: bad}))


@pytest.mark.parametrize("name", ["serve_tls_cert", "serve_tls_client_ca"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_unusable_server_file_names_the_setting(tmp_path, authority, name, content):
    files = {"serve_tls_cert": authority.issue("server"), "serve_tls_client_ca": authority.certificate}
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=name):
        ServerAccess.of(make_settings(tmp_path, **{**files, name: bad}))


@pytest.mark.parametrize(
    ("of", "name", "missing"),
    [
        (ClientAccess, "triton_tls_cert", "EMBEDDER_TRITON_TLS_CA"),
        (ServerAccess, "serve_tls_client_ca", "EMBEDDER_SERVE_TLS_CERT"),
    ],
)
def test_missing_companion_setting_is_named(tmp_path, authority, of, name, missing):
    with pytest.raises(SettingsError, match=missing):
        of.of(make_settings(tmp_path, **{name: authority.issue("half")}))


@pytest.mark.parametrize(("of", "name"), [(ClientAccess, "triton_tls_cert"), (ServerAccess, "serve_tls_cert")])
@pytest.mark.parametrize("part", ["CERTIFICATE", "PRIVATE KEY"])
def test_certificate_without_key_is_refused(tmp_path, authority, of, name, part):
    whole = authority.issue("pair").read_text("utf-8")
    half = tmp_path / "half.pem"
    half.write_text(re.search(f"-----BEGIN {part}.*END {part}-----", whole, re.DOTALL)[0], "utf-8")
    with pytest.raises(SettingsError, match=rf"'{name}'.*certificate and its private key in one PEM file"):
        of.of(make_settings(tmp_path, **{name: half}))


def test_tls_options_hide_the_secret(tmp_path, authority):
    certificate = authority.issue("server")
    plain = ServerAccess(certificate)
    assert "--grpc-use-ssl=true" in plain.options()
    mutual = ServerAccess(certificate, authority.certificate, Secret("name", "value"))
    assert "--grpc-use-ssl-mutual=true" in mutual.options()
    assert f"--grpc-root-cert={authority.certificate}" in mutual.options()
    assert "--allow-http=false" in mutual.options()
    assert not any("value" in option for option in mutual.options())
    (only,) = mutual.secret_options()
    assert only.startswith("--grpc-restricted-protocol=model-repository,shared-memory,")
    assert only.endswith(":name=value")


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ("This protocol is restricted, expecting header 'x'", TritonAccessError, "EMBEDDER_TRITON_SECRET_FILE"),
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE)", TritonAccessError, "EMBEDDER_TRITON_TLS_CA"),
        ("Hostname Verification Check failed.", TritonAccessError, "has to name the address"),
        ("failed to connect; last error: Socket closed", TritonUnavailableError, "EMBEDDER_TRITON_TLS_CERT"),
        ("failed to connect; last error: Connection refused", TritonUnavailableError, "Triton is back.$"),
    ],
)
def test_unauthorized_answer_names_the_setting(said, kind, remedy):
    from tritonclient.utils import InferenceServerException

    with pytest.raises(kind, match=remedy), _errors_of(TritonAddress("host:1"), "loading model 'm'"):
        raise InferenceServerException(said, "StatusCode.UNAVAILABLE")
