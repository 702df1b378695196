"""Pushes the metrics over all runs to a Pushgateway, for hosts that Prometheus cannot scrape.

A Pushgateway keeps the last push of a group for ever and adds nothing up, so what is pushed is everything that the
event log holds, under a group that names the host and no run.
"""

from __future__ import annotations

import socket

from prometheus_client import CollectorRegistry, push_to_gateway

from embedder_assets.telemetry.exporter import RecordCollector

JOB = "embedder_assets"
TIMEOUT_S = 5


def push(collector: RecordCollector, url: str) -> str | None:
    """Replaces this host's group at the Pushgateway; returns what went wrong, or None."""
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        push_to_gateway(url, JOB, registry, grouping_key={"instance": socket.gethostname()}, timeout=TIMEOUT_S)
    except OSError as error:
        return f"metrics were not pushed to {url}: {error}"
    return None
