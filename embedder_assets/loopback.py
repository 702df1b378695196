"""HTTP to this machine itself, past any proxy that the environment names: a proxy cannot reach our loopback."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse


def is_local(address: str) -> bool:
    """Whether an address, ``host:port``, is of this machine."""
    return address.startswith(("127.", "localhost:"))


def get(
    url: str, timeout_s: float, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> HTTPResponse:
    """Opens a URL of 127.0.0.1; close the answer, or use it in a ``with``.

    Raises:
        OSError: Nothing answers, or it answers with an error status.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    response: HTTPResponse = opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=timeout_s)
    return response
