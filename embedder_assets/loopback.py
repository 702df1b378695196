"""HTTP to this machine itself, past any proxy that the environment names: a proxy cannot reach our loopback."""

from __future__ import annotations

import urllib.request
from http.client import HTTPResponse

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, timeout_s: float) -> HTTPResponse:
    """Opens a URL of 127.0.0.1; close the answer, or use it in a ``with``.

    Raises:
        OSError: Nothing answers, or it answers with an error status.
    """
    response: HTTPResponse = _OPENER.open(url, timeout=timeout_s)
    return response
