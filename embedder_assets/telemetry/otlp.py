"""Sends finished spans to an OpenTelemetry collector, by OpenTelemetry's own environment variables, in bounded time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Literal

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from pydantic import BaseModel, ConfigDict

from embedder_assets import collector
from embedder_assets.plain import one_line
from embedder_assets.redact import redact

PROTOCOLS = ("grpc", "http/protobuf")
# All that a run waits for a collector: one that is down must not slow it.
BUDGET_S = 0.8


class OtlpReport(BaseModel):
    """What became of a run's spans at the collector.

    Attributes:
        status: ``off`` when no collector is configured.
        protocol: ``grpc`` or ``http/protobuf``.
        reason: Why it failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["exported", "failed", "off"]
    protocol: str | None = None
    reason: str | None = None


def export(spans: Sequence[ReadableSpan], environ: Mapping[str, str] = os.environ) -> OtlpReport:
    """Sends all spans at once to the collector that the environment names, if it names one."""
    if not collector.is_configured(environ):
        return OtlpReport(status="off")
    protocol = collector.protocol(environ)
    if protocol not in PROTOCOLS:
        reason = f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; {' and '.join(PROTOCOLS)} are supported"
        return OtlpReport(status="failed", protocol=protocol, reason=reason)
    outcome: list[SpanExportResult | Exception] = []

    def send() -> None:
        try:
            outcome.append(_exporter(protocol).export(spans))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=send, name="otlp", daemon=True)
    with _quiet():
        thread.start()
        thread.join(BUDGET_S)
    if outcome == [SpanExportResult.SUCCESS]:
        return OtlpReport(status="exported", protocol=protocol)
    found = outcome[0] if outcome else None
    reason = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else f"no answer within {BUDGET_S} s"
    return OtlpReport(status="failed", protocol=protocol, reason=one_line(redact(reason)))


def _exporter(protocol: str) -> SpanExporter:
    # Imported here: gRPC's exporter loads grpc, which a run without a collector does not need.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(timeout=BUDGET_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(timeout=BUDGET_S)


class _quiet:  # noqa: N801 - reads as a statement
    """Keeps the exporters' own log lines out of a run's output: the report says what happened."""

    def __enter__(self) -> None:
        # All of it: what it says of headers that it cannot read has them in it.
        self._logger = logging.getLogger("opentelemetry")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
