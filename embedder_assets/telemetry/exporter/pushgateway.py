"""Pushes the metrics over all runs to a Pushgateway, for hosts that Prometheus cannot scrape.

A Pushgateway keeps the last push of a group for ever and adds nothing up, so what is pushed is everything that the
event log holds, under a group that names the host and no run.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from typing import Any

from prometheus_client import CollectorRegistry, push_to_gateway
from prometheus_client.exposition import basic_auth_handler, default_handler

from embedder_assets.sanitize import SecretUrl, safe_line
from embedder_assets.telemetry.exporter.collector import RecordCollector

JOB = "embedder_assets"
TIMEOUT_S = 5


def push(collector: RecordCollector, url: SecretUrl) -> str | None:
    """Replaces this host's group at the Pushgateway; returns what went wrong, or None."""
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        push_to_gateway(
            url.address,
            JOB,
            registry,
            grouping_key={"instance": socket.gethostname()},
            timeout=TIMEOUT_S,
            handler=_handler(url),
        )
    except (OSError, HTTPException, ValueError) as error:
        return safe_line(f"metrics were not pushed to {url}: {error}")
    return None


def _handler(url: SecretUrl) -> Callable[..., Any]:
    """Sends user and password of a URL as the header that a gateway asks for."""
    if url.login is None:
        return default_handler
    user, password = url.login
    return partial(basic_auth_handler, username=user, password=password)
