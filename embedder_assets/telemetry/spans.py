"""OpenTelemetry spans of a run, made from the stage records.

``rag.run`` has a child for each stage that ran, and a stage has a child ``rag.request`` for each request to Triton that
was sampled; the server's own spans go on below that one, since the request carried its id. The trace id is the run id,
and a stage's span id follows from both, so every process of a run writes into one trace with nothing to pass on. Spans
always go to a JSON-lines file beside the manifest, and to a collector where OpenTelemetry's variables name one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from embedder_assets.telemetry import otlp
from embedder_assets.telemetry.record import (
    Attribute,
    RequestTrace,
    StageName,
    StageRecord,
    run_span_id,
    stage_span_id,
    trace_id_of,
)

RUN_SPAN = "rag.run"
REQUEST_SPAN = "rag.request"
GB = 1e9


@dataclass(frozen=True)
class SpanReport:
    """The spans that a run has left.

    Attributes:
        attributes: Attributes of each stage span that the file holds, by the span's name.
        otlp: What became of them at the collector.
    """

    attributes: dict[str, dict[str, Any]]
    otlp: otlp.OtlpReport


class _GivenIds(IdGenerator):
    """Span and trace ids that were fixed while the run worked."""

    def __init__(self, run_id: str) -> None:
        self._trace_id = int(trace_id_of(run_id), 16)
        self.next_span_id = ""

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return int(self.next_span_id, 16)


class _Tree:
    """Builds the spans of one run from its records."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._ids = _GivenIds(run_id)
        self._exporter = InMemorySpanExporter()
        # A run leaves its spans whatever sampler the environment names: they are its proof.
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": "embedder-assets"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._tracer = provider.get_tracer("embedder_assets")

    def spans(self, records: Sequence[StageRecord]) -> Sequence[ReadableSpan]:
        """All spans of the run, children first."""
        if records:
            self._run(records)
        return self._exporter.get_finished_spans()

    def _run(self, records: Sequence[StageRecord]) -> None:
        root = self._start(RUN_SPAN, run_span_id(self._run_id), min(record.started_at for record in records))
        for record in records:
            self._stage(record, trace.set_span_in_context(root))
        if any(record.status == "failed" for record in records):
            root.set_status(trace.StatusCode.ERROR)
        root.end(_nanoseconds(max(record.ended_at for record in records)))

    def _stage(self, record: StageRecord, parent: Any) -> None:
        span_id = stage_span_id(self._run_id, record.stage)
        span = self._start(f"rag.{record.stage}", span_id, record.started_at, parent)
        span.set_attributes(span_attributes(record))
        for request in record.requests:
            self._request(record.stage, request, trace.set_span_in_context(span))
        if record.status == "failed":
            # The message may quote a document's name; only the class of the failure goes out.
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(record.ended_at))

    def _request(self, stage: StageName, request: RequestTrace, parent: Any) -> None:
        span = self._start(REQUEST_SPAN, request.span_id, request.started_at, parent, trace.SpanKind.CLIENT)
        span.set_attributes(request_attributes(stage, request))
        span.end(_nanoseconds(request.started_at + request.latency_s))

    def _start(
        self,
        name: str,
        span_id: str,
        started_at: float,
        parent: Any = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    ) -> trace.Span:
        self._ids.next_span_id = span_id
        context = trace.set_span_in_context(trace.INVALID_SPAN) if parent is None else parent
        return self._tracer.start_span(name, context, kind=kind, start_time=_nanoseconds(started_at))


def emit_spans(run_id: str, records: Sequence[StageRecord], file: Path) -> SpanReport:
    """Writes the spans of a run to a file and a collector, and reports what the file holds afterwards."""
    spans = _Tree(run_id).spans([record for record in records if record.status != "off"])
    file.write_text("".join(span.to_json(indent=None) + "\n" for span in spans), "utf-8")
    written = {span["name"]: span["attributes"] for span in read_spans(file)}
    stages = {name: attributes for name, attributes in written.items() if name not in (RUN_SPAN, REQUEST_SPAN)}
    return SpanReport(stages, otlp.export(spans) if spans else otlp.OtlpReport(status="off"))


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


def request_attributes(stage: StageName, request: RequestTrace) -> dict[str, Attribute]:
    """The attributes of a request's span; ``gen_ai.*`` has words for dense embeddings only."""
    attributes: dict[str, Attribute] = {
        "stage": stage,
        "gen_ai.request.model": request.model,
        "batch_size": request.size,
        "latency_ms": round(request.latency_s * 1000, 3),
    }
    if request.dimension is not None:
        attributes["gen_ai.operation.name"] = "embeddings"
        attributes["gen_ai.embeddings.dimension.count"] = request.dimension
    return attributes


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
