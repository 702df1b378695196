"""Certificates that live as long as a test, made with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """Vouches for servers and clients on this machine.

    Attributes:
        certificate: Its own (PEM).
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.certificate, self._key = self._files(name)
        _openssl("req", "-x509", *NEW_KEY, "-days", "2", *self._subject(name), "-out", self.certificate)

    def issue(self, name: str) -> Path:
        """A new certificate for 127.0.0.1 and its key, in one file."""
        certificate, key = self._files(f"{self._name}-{name}")
        request, extension = certificate.with_suffix(".csr"), self._folder / "extension"
        extension.write_text("subjectAltName=IP:127.0.0.1", "utf-8")
        _openssl("req", *NEW_KEY, *self._subject(f"{self._name}-{name}"), "-out", request)
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", request, *signer, "-extfile", extension, "-out", certificate)
        certificate.write_text(certificate.read_text("utf-8") + key.read_text("utf-8"), "utf-8")
        return certificate

    def _files(self, name: str) -> tuple[Path, Path]:
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _subject(self, name: str) -> list[str]:
        return ["-subj", f"/CN={name}", "-keyout", str(self._files(name)[1])]


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
