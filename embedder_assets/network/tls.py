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


def load_pair(context: ssl.SSLContext, certificate: Path | None, key: Path | None, settings: tuple[str, str]) -> None:
    """Takes a certificate and its private key into a context, where there are any.

    Args:
        context: Gets them.
        certificate: PEM.
        key: PEM.
        settings: The settings that name them, in this order.

    Raises:
        SettingsError: One of them is missing, a file cannot be read, or they are no PEM or no pair.
    """
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise by_halves(*settings)
    for file, setting in zip((certificate, key), settings, strict=True):
        read_named(file, setting)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise SettingsError(
            f"settings {' and '.join(settings)}: {certificate} and {key}",
            expected="a certificate and its private key, both PEM",
            got=str(error),
            remedy="Correct the files or the settings.",
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


def by_halves(*settings: str) -> SettingsError:
    """The error for settings that need each other, of which one is missing."""
    return SettingsError(
        f"settings {' and '.join(settings)}",
        expected="both or neither",
        got="one of them",
        remedy="Set the other one too, or unset both.",
    )
