"""OpenTelemetry spans of a run, made from the stage records.

``rag.run`` has a child for each stage that ran, and a stage has a child ``rag.request`` for each request to Triton that
was sampled; the server's own spans go on below that one, since the request carried its id. The trace id is the run id,
and a stage's span id follows from both, so every process of a run writes into one trace with nothing to pass on. Spans
always go to a JSON-lines file next to the manifest, whole, and to a collector where OpenTelemetry's variables name one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from embedder_assets.telemetry import otlp
from embedder_assets.telemetry.stage_record import (
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


class _Tree:
    """Builds the spans of one run from its records.

    They are made as they are to be written, past OpenTelemetry's tracer: that one obeys variables which are meant for
    what goes to a collector. It makes no span at all where they switch it off, and drops attributes where they say so.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._spans: list[ReadableSpan] = []

    def spans(self, records: Sequence[StageRecord]) -> Sequence[ReadableSpan]:
        """All spans of the run, each after its parent."""
        if records:
            self._run(records)
        return self._spans

    def _run(self, records: Sequence[StageRecord]) -> None:
        failed = any(record.status == "failed" for record in records)
        times = min(record.started_at for record in records), max(record.ended_at for record in records)
        root = self._add(RUN_SPAN, run_span_id(self._run_id), times, status=_status(failed=failed))
        for record in records:
            self._stage(record, root)

    def _stage(self, record: StageRecord, parent: trace.SpanContext) -> None:
        stage = self._add(
            f"rag.{record.stage}",
            stage_span_id(self._run_id, record.stage),
            (record.started_at, record.ended_at),
            parent=parent,
            attributes=span_attributes(record),
            status=_status(failed=record.status == "failed"),
        )
        for request in record.requests:
            self._add(
                REQUEST_SPAN,
                request.span_id,
                (request.started_at, request.started_at + request.latency_s),
                parent=stage,
                attributes=request_attributes(record.stage, request),
                kind=trace.SpanKind.CLIENT,
            )

    def _add(self, name: str, span_id: str, times: tuple[float, float], **more: Any) -> trace.SpanContext:
        context = trace.SpanContext(
            int(trace_id_of(self._run_id), 16),
            int(span_id, 16),
            is_remote=False,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )
        started_at, ended_at = map(_nanoseconds, times)
        resource = Resource({"service.name": otlp.SERVICE})
        self._spans.append(
            ReadableSpan(name, context, resource=resource, start_time=started_at, end_time=ended_at, **more)
        )
        return context


def _status(*, failed: bool) -> trace.Status:
    """A failure's message may quote a document's name; only that something failed goes out."""
    return trace.Status(trace.StatusCode.ERROR if failed else trace.StatusCode.UNSET)


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
