"""Access to a Triton server: its address, certificates, and the secret without which nobody loads models.

Triton calls it a restricted protocol: requests of some kinds need a header with a value. Loading a model is one of
them, because who may load a model may run code of his own on the server.
"""

from __future__ import annotations

import re
import secrets
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedder_assets.errors import SettingsError
from embedder_assets.network.tls import load_authority, load_pair, read_named
from embedder_assets.settings import Settings

# What inference does not need.
RESTRICTED = ("model-repository", "shared-memory", "statistics", "trace", "logging")
HEADER_PREFIX = "triton-grpc-protocol-"
# Triton splits its option at commas and at the equals sign; gRPC wants names in lower case.
NAMED_VALUE = re.compile(r"([a-z0-9][a-z0-9._-]*)=([A-Za-z0-9._~+/-]{16,})")


@dataclass(frozen=True)
class Secret:
    """A header of Triton's restricted protocols.

    Attributes:
        name: Its name, without Triton's prefix.
        value: Known to authorized clients only.
    """

    name: str
    value: str = field(repr=False)

    @classmethod
    def random(cls) -> Secret:
        """A new one of 256 bits."""
        return cls("embedder-secret", secrets.token_hex(32))

    @classmethod
    def of(cls, settings: Settings) -> Secret | None:
        """The one in the file that the settings name, if they name one; raises as ``read``."""
        return cls.read(settings.triton_secret_file) if settings.triton_secret_file else None

    @classmethod
    def read(cls, file: Path) -> Secret:
        """The one in a file, ``name=value``.

        Raises:
            SettingsError: The file cannot be read, or holds something else.
        """
        found = NAMED_VALUE.fullmatch(read_named(file, "triton_secret_file").strip())
        if found is None:
            raise SettingsError(
                f"setting 'triton_secret_file': {file}",
                expected="one line `name=value`, the name in lower case, the value of 16 letters, digits or more",
                got="something else, which is not shown",
                remedy='Write it with `echo "embedder-secret=$(openssl rand -hex 32)"`.',
            )
        return cls(*found.groups())

    @property
    def line(self) -> str:
        """As a file holds it."""
        return f"{self.name}={self.value}"

    @property
    def headers(self) -> dict[str, str]:
        """What a gRPC request carries."""
        return {HEADER_PREFIX + self.name: self.value}


@dataclass(frozen=True)
class ClientAccess:
    """The credentials that a client presents to a server.

    Attributes:
        authority: Certificates (PEM) that vouch for the server; None for a connection without TLS.
        certificate: The client's own with its private key (PEM), for mutual TLS.
        secret: For restricted protocols.
    """

    authority: Path | None = None
    certificate: Path | None = None
    secret: Secret | None = None

    @classmethod
    def of(cls, settings: Settings) -> ClientAccess:
        """As the settings say.

        Raises:
            SettingsError: A file cannot be used, or a setting is missing that another one needs.
        """
        authority, certificate = settings.triton_tls_ca, settings.triton_tls_cert
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if certificate is not None:
            load_pair(context, certificate, "triton_tls_cert")
        if authority is not None:
            load_authority(context, authority, "triton_tls_ca")
        elif certificate is not None:
            raise SettingsError(
                "setting 'triton_tls_ca'",
                expected="the certificates that vouch for the server, since triton_tls_cert is set",
                got="nothing",
                remedy="Set EMBEDDER_TRITON_TLS_CA; for a public authority to /etc/ssl/certs/ca-certificates.crt.",
            )
        return cls(authority, certificate, Secret.of(settings))


@dataclass(frozen=True)
class TritonAddress:
    """Where a Triton server answers.

    Attributes:
        grpc: ``host:port`` for inference.
        metrics_url: Address of the Prometheus metrics, where known.
        log_file: The server's log, for an embedded server.
        access: The credentials for it.
    """

    grpc: str
    metrics_url: str | None = None
    log_file: str | None = None
    access: ClientAccess = field(default_factory=ClientAccess)


def with_secret_of(running: TritonAddress, access: ClientAccess) -> ClientAccess:
    """The credentials for this home's own server: its secret replaces any other."""
    return replace(access, secret=running.access.secret or access.secret)


@dataclass(frozen=True)
class ServerAccess:
    """Whom an embedded server authorizes.

    Attributes:
        certificate: The server's with its private key (PEM); gRPC speaks TLS.
        authority: Certificates (PEM) that vouch for clients: others get nothing.
        secret: Without it, a client can infer and no more; a new one by default. With None, whoever reaches
            the server runs code on it.
    """

    certificate: Path | None = None
    authority: Path | None = None
    secret: Secret | None = field(default_factory=Secret.random)

    @classmethod
    def of(cls, settings: Settings) -> ServerAccess:
        """The access of ``embedder serve``, as the settings say.

        Raises:
            SettingsError: A file cannot be used, or a setting is missing that another one needs.
        """
        certificate, authority = settings.serve_tls_cert, settings.serve_tls_client_ca
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate is not None:
            load_pair(context, certificate, "serve_tls_cert")
        if authority is not None:
            if certificate is None:
                raise SettingsError(
                    "setting 'serve_tls_cert'",
                    expected="the server's certificate, since serve_tls_client_ca is set",
                    got="nothing",
                    remedy="Set EMBEDDER_SERVE_TLS_CERT, or unset EMBEDDER_SERVE_TLS_CLIENT_CA.",
                )
            load_authority(context, authority, "serve_tls_client_ca")
        return cls(certificate, authority, Secret.of(settings) or Secret.random())

    def options(self) -> list[str]:
        """Options of ``tritonserver``, without those that hold the secret. HTTP is disabled: nothing here uses it."""
        if self.certificate is None:
            return ["--allow-http=false"]
        # The option for mutual TLS replaces the other one.
        options = ["--grpc-use-ssl-mutual=true" if self.authority else "--grpc-use-ssl=true"]
        options += [
            "--allow-http=false",
            f"--grpc-server-cert={self.certificate}",
            f"--grpc-server-key={self.certificate}",
        ]
        return [*options, f"--grpc-root-cert={self.authority}"] if self.authority else options

    def secret_options(self) -> list[str]:
        """Options of ``tritonserver`` that hold the secret."""
        if self.secret is None:
            return []
        return [f"--grpc-restricted-protocol={','.join(RESTRICTED)}:{self.secret.line}"]
