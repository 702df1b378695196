"""Certificates, keys and secrets that settings name by file: read, and refused with the name of the setting."""

from __future__ import annotations

import ssl
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
    read_named(pair, setting)
    try:
        context.load_cert_chain(pair)
    except ssl.SSLError as error:
        raise SettingsError(
            f"setting '{setting}': {pair}",
            expected="a certificate and its private key in one PEM file",
            got=str(error),
            remedy="Write one below the other (`cat certificate.pem key.pem`), or correct the setting.",
        ) from error


def load_authority(context: ssl.SSLContext, authority: Path, setting: str) -> None:
    """Takes the certificates of an authority into a context.

    Raises:
        SettingsError: The file cannot be read, or is no PEM.
    """
    read_named(authority, setting)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise SettingsError(
            f"setting '{setting}': {authority}",
            expected="certificates, PEM",
            got=str(error),
            remedy="Correct the file or the setting.",
        ) from error
