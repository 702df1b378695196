"""Certificates, keys and secrets that settings name by file: read, and refused with the name of the setting."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from embedder_assets.errors import SettingsError


def read_named(file: Path, setting: str) -> str:
    """The text of a file that a setting names.

    Raises:
        SettingsError: The file cannot be read.
    """
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"setting '{setting}'", expected="a file that can be read", got=str(error), remedy=f"Correct {file}."
        ) from error


def load_pair(context: ssl.SSLContext, pair: Path, setting: str) -> None:
    """Takes a certificate and its private key, both in one PEM file, into a context.

    Raises:
        SettingsError: The file cannot be read, or does not hold them.
    """
    remedy = "Write one below the other (`cat certificate.pem key.pem`), or correct the setting."
    _load(context.load_cert_chain, pair, setting, "a certificate and its private key in one PEM file", remedy)


def load_authority(context: ssl.SSLContext, authority: Path, setting: str) -> None:
    """Takes the certificates of an authority into a context.

    Raises:
        SettingsError: The file cannot be read, or is no PEM.
    """
    _load(context.load_verify_locations, authority, setting, "certificates, PEM", "Correct the file or the setting.")


def _load(load: Callable[[Path], None], file: Path, setting: str, expected: str, remedy: str) -> None:
    """Loads a file that a setting names, and refuses one that cannot be read or has the wrong content."""
    read_named(file, setting)
    try:
        load(file)
    except ssl.SSLError as error:
        raise SettingsError(f"setting '{setting}': {file}", expected=expected, got=str(error), remedy=remedy) from error
