"""Sends finished spans to an OpenTelemetry collector, by OpenTelemetry's own environment variables, in bounded time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Literal

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from pydantic import BaseModel, ConfigDict

from embedder_assets.network import otlp_env as collector
from embedder_assets.sanitize import safe_line

SERVICE = "embedder-assets"
PROTOCOLS = ("grpc", "http/protobuf")
# All that a run waits for a collector: one that is down must not slow it.
BUDGET_S = 0.8


class OtlpReport(BaseModel):
    """What became of a run's spans at the collector.

    Attributes:
        status: ``off`` when no collector is configured.
        protocol: ``grpc`` or ``http/protobuf``.
        reason: Why it failed, or why nothing of this run was sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["exported", "failed", "off"]
    protocol: str | None = None
    reason: str | None = None


def export(spans: Sequence[ReadableSpan], environ: Mapping[str, str] = os.environ) -> OtlpReport:
    """Sends all spans at once to the collector that the environment names, if it names one.

    Args:
        spans: Each after its parent.
        environ: The variables.
    """
    if not collector.is_configured(environ):
        return OtlpReport(status="off")
    protocol = collector.protocol(environ)
    if protocol not in PROTOCOLS:
        reason = f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; {' and '.join(PROTOCOLS)} are supported"
        return OtlpReport(status="failed", protocol=protocol, reason=reason)
    outcome: list[SpanExportResult | Exception | None] = []

    def send() -> None:
        try:
            wanted = _as_the_environment_wants(spans)
            outcome.append(_exporter(protocol).export(wanted) if wanted else None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=send, name="otlp", daemon=True)
    with _quiet():
        thread.start()
        thread.join(BUDGET_S)
    if outcome == [SpanExportResult.SUCCESS]:
        return OtlpReport(status="exported", protocol=protocol)
    if outcome == [None]:
        return OtlpReport(status="off", protocol=protocol, reason="OTEL_TRACES_SAMPLER leaves out this run's spans")
    found = outcome[0] if outcome else None
    reason = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else f"no answer within {BUDGET_S} s"
    return OtlpReport(status="failed", protocol=protocol, reason=safe_line(reason))


def _exporter(protocol: str) -> SpanExporter:
    # Imported here: gRPC's exporter loads grpc, which a run without a collector does not need.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(timeout=BUDGET_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(timeout=BUDGET_S)


class _GivenIds(IdGenerator):
    """The ids of the span that is made next."""

    def __init__(self) -> None:
        self.context = trace.INVALID_SPAN_CONTEXT

    def generate_trace_id(self) -> int:
        return self.context.trace_id

    def generate_span_id(self) -> int:
        return self.context.span_id


def _as_the_environment_wants(spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
    """Spans as OpenTelemetry's variables want them: sampled, within limits, with the attributes of the resource."""
    ids, kept = _GivenIds(), InMemorySpanExporter()
    resource = Resource.create({"service.name": SERVICE})
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("embedder_assets")
    made: dict[int, trace.Span] = {}
    for span in spans:
        ids.context = span.get_span_context() or trace.INVALID_SPAN_CONTEXT
        parent = trace.INVALID_SPAN if span.parent is None else made[span.parent.span_id]
        copy = tracer.start_span(
            span.name,
            trace.set_span_in_context(parent),
            kind=span.kind,
            attributes=span.attributes,
            start_time=span.start_time,
        )
        copy.set_status(span.status)
        made[ids.context.span_id] = copy
        copy.end(span.end_time)
    return kept.get_finished_spans()


class _quiet:  # noqa: N801 - reads as a statement
    """Keeps the exporters' own log lines out of a run's output: the report says what happened."""

    def __enter__(self) -> None:
        # All of it: what it says of headers that it cannot read has them in it.
        self._logger = logging.getLogger("opentelemetry")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
