"""OpenTelemetry spans of a run: ``rag.run`` and a child for each stage that ran, made from the stage records.

The trace id is the run id (a UUID is 128 bits), so whoever knows the run finds the trace. Spans always go to a
JSON-lines file beside the manifest, and to a collector where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from embedder_assets.telemetry.record import Attribute, StageRecord

OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# A collector that is down must not slow a run.
OTLP_TIMEOUT_S = 1
GB = 1e9


class JsonLinesExporter(SpanExporter):
    """Writes each span as one line of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Appends spans to the file."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


class _RunIdGenerator(RandomIdGenerator):
    def __init__(self, run_id: str) -> None:
        self._trace_id = uuid.UUID(run_id).int

    def generate_trace_id(self) -> int:
        return self._trace_id


def emit_spans(run_id: str, records: Sequence[StageRecord], file: Path) -> dict[str, dict[str, Any]]:
    """Emits the spans of a run and returns the attributes of the stage spans that the file holds afterwards."""
    file.unlink(missing_ok=True)
    provider = TracerProvider(
        resource=Resource.create({"service.name": "embedder-assets"}), id_generator=_RunIdGenerator(run_id)
    )
    provider.add_span_processor(SimpleSpanProcessor(JsonLinesExporter(file)))
    if any(os.environ.get(variable) for variable in OTLP_VARIABLES):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(timeout=OTLP_TIMEOUT_S)))
    ran = [record for record in records if record.status != "off"]
    if ran:
        _emit_tree(provider.get_tracer("embedder_assets"), ran)
    provider.shutdown()
    return {span["name"]: span["attributes"] for span in read_spans(file) if span["name"] != "rag.run"}


def read_spans(file: Path) -> list[dict[str, Any]]:
    """The spans in a JSON-lines file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def span_attributes(record: StageRecord) -> dict[str, Attribute]:
    """The attributes of a stage's span."""
    attributes: dict[str, Attribute] = {
        "latency_ms": round(record.latency_s * 1000, 3),
        "batch_size": record.batch_size,
        "fallback_used": record.fallback_used,
        **record.attributes,
    }
    if record.gpu_peak_bytes:
        attributes["gpu_peak_gb"] = round(max(record.gpu_peak_bytes.values()) / GB, 3)
    if record.fallback_reason:
        attributes["fallback_reason"] = record.fallback_reason
    return attributes


def _emit_tree(tracer: trace.Tracer, records: Sequence[StageRecord]) -> None:
    root = tracer.start_span("rag.run", start_time=_nanoseconds(min(record.started_at for record in records)))
    context = trace.set_span_in_context(root)
    for record in records:
        span = tracer.start_span(f"rag.{record.stage}", context, start_time=_nanoseconds(record.started_at))
        span.set_attributes(span_attributes(record))
        if record.status == "failed":
            # The message may quote a document's name; only the class of the failure goes out.
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(record.ended_at))
    if any(record.status == "failed" for record in records):
        root.set_status(trace.StatusCode.ERROR)
    root.end(_nanoseconds(max(record.ended_at for record in records)))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
