import http.server
import socket
import threading
import time
import uuid
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from embedder_assets.telemetry import otlp
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE
from embedder_assets.telemetry.spans import emit_spans, read_spans
from embedder_assets.telemetry.stage_record import RequestTrace, StageMeter
from tests.support.factories import GB, make_record
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, FAILED, OFF, RUN_ID, with_off


def test_trace_id_is_the_run_id(tmp_path):
    emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl")
    spans = read_spans(tmp_path / "spans.jsonl")
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{uuid.UUID(RUN_ID).hex}"}
    root = next(span for span in spans if span["name"] == "rag.run")
    children = [span for span in spans if span is not root]
    assert {span["name"] for span in children} == {f"rag.{stage}" for stage in ASSET_OF_STAGE}
    assert {span["parent_id"] for span in children} == {root["context"]["span_id"]}


def test_span_carries_times_and_attributes(tmp_path):
    record = make_record(
        "dense",
        batch_size=64,
        gpu_peak_bytes={"a": GB, "b": 3 * GB},
        fallback_used=True,
        fallback_reason="out_of_memory",
        attributes={"models_executed": ["m"], "chunks_per_second": 2.5},
    )
    written = emit_spans(RUN_ID, [record], tmp_path / "spans.jsonl")
    assert written.attributes == {
        "rag.dense": {
            "latency_ms": 2500.0,
            "batch_size": 64,
            "gpu_peak_gb": 3.0,
            "fallback_used": True,
            "fallback_reason": "out_of_memory",
            "models_executed": ["m"],
            "chunks_per_second": 2.5,
        }
    }
    span = next(span for span in read_spans(tmp_path / "spans.jsonl") if span["name"] == "rag.dense")
    assert (span["start_time"], span["end_time"]) == ("1970-01-01T00:16:40.000000Z", "1970-01-01T00:16:42.500000Z")


def test_failed_stage_has_error_status_without_message(tmp_path):
    emit_spans(RUN_ID, [make_record("chunk"), FAILED], tmp_path / "spans.jsonl")
    spans = {span["name"]: span["status"] for span in read_spans(tmp_path / "spans.jsonl")}
    assert spans == {
        "rag.chunk": {"status_code": "UNSET"},
        "rag.dense": {"status_code": "ERROR"},
        "rag.run": {"status_code": "ERROR"},
    }
    assert "no answer" not in (tmp_path / "spans.jsonl").read_text()


def test_a_stage_that_was_off_has_no_span(tmp_path):
    assert "rag.rerank" not in emit_spans(RUN_ID, with_off(OFF), tmp_path / "spans.jsonl").attributes
    assert "rerank" not in (tmp_path / "spans.jsonl").read_text()


def test_emitting_again_replaces_the_spans(tmp_path):
    for _ in range(2):
        emit_spans(RUN_ID, [FAILED], tmp_path / "spans.jsonl")
    assert len(read_spans(tmp_path / "spans.jsonl")) == 2


def test_a_run_without_any_stage_has_no_spans(tmp_path):
    assert emit_spans(RUN_ID, [], tmp_path / "spans.jsonl").attributes == {}


def test_sampled_request_is_a_child_span(tmp_path):
    request = RequestTrace(
        span_id="00f067aa0ba902b7", model="minilm", started_at=1001.0, latency_s=0.5, size=64, dimension=384
    )
    emit_spans(RUN_ID, [make_record("dense", requests=[request])], tmp_path / "spans.jsonl")
    spans = {span["name"]: span for span in read_spans(tmp_path / "spans.jsonl")}
    sent = spans["rag.request"]
    assert sent["context"]["span_id"] == "0x00f067aa0ba902b7"
    assert (sent["parent_id"], sent["kind"]) == (spans["rag.dense"]["context"]["span_id"], "SpanKind.CLIENT")
    assert sent["attributes"] == {
        "stage": "dense",
        "gen_ai.request.model": "minilm",
        "gen_ai.operation.name": "embeddings",
        "gen_ai.embeddings.dimension.count": 384,
        "batch_size": 64,
        "latency_ms": 500.0,
    }


def test_sampling_takes_first_request_then_ratio(monkeypatch):
    chances = iter([0.9, 0.01])
    monkeypatch.setattr("random.random", lambda: next(chances))
    meter = StageMeter("dense", [], run_id=RUN_ID, request_ratio=0.05)
    first, second, third = (meter.traceparent() for _ in range(3))
    assert second is None
    assert first != third
    version, trace_id, span_id, flags = first.split("-")
    assert (version, trace_id, len(span_id), flags) == ("00", uuid.UUID(RUN_ID).hex, 16, "01")


@pytest.mark.parametrize("meter", [StageMeter("dense", [], run_id=RUN_ID), StageMeter("dense", [], request_ratio=1.0)])
def test_sampling_needs_ratio_and_run(meter):
    assert meter.traceparent() is None


# Collectors


def clear_variables(monkeypatch):
    for name in ("ENDPOINT", "PROTOCOL", "HEADERS"):
        for kind in ("", "TRACES_"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{kind}{name}", raising=False)


def test_without_a_collector_nothing_is_sent(tmp_path, monkeypatch):
    clear_variables(monkeypatch)
    assert emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp == otlp.OtlpReport(status="off")


def names_of(request) -> set[str]:
    return {span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans}


@pytest.fixture
def received(monkeypatch):
    """What a collector over HTTP gets: (path, request) each."""
    received = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, trace_service_pb2.ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args):
            pass

    clear_variables(monkeypatch)
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        yield received
        collector.shutdown()
        thread.join()


def test_spans_go_out_over_http(tmp_path, received):
    report = emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp
    assert (report.status, report.protocol) == ("exported", "http/protobuf")
    ((path, request),) = received
    assert path == "/v1/traces"
    assert names_of(request) == {"rag.run", *(f"rag.{stage}" for stage in ASSET_OF_STAGE)}
    [sent] = request.resource_spans
    spans = {span.name: span for scope in sent.scope_spans for span in scope.spans}
    root = spans.pop("rag.run")
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    assert {span.trace_id.hex() for span in spans.values()} == {uuid.UUID(RUN_ID).hex}


# OpenTelemetry's variables are for what goes to a collector

LIMITS = {
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "0",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
}
OFF_OR_GARBAGE = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_RESOURCE_ATTRIBUTES": "no equals sign,,=,%zz=\x01",
    "OTEL_SERVICE_NAME": "",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "no-such-detector",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "::no address::",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_EXPORTER_OTLP_HEADERS": "no equals sign",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file",
    "OTEL_PROPAGATORS": "none",
}
GARBAGE_LIMITS = dict.fromkeys(LIMITS, "many")
REQUEST = RequestTrace(span_id="00f067aa0ba902b7", model="minilm", started_at=1001.0, latency_s=0.5, size=64)


@pytest.mark.parametrize(
    "variables",
    [
        *({name: value} for several in (LIMITS, OFF_OR_GARBAGE, GARBAGE_LIMITS) for name, value in several.items()),
        LIMITS,
        {**LIMITS, **OFF_OR_GARBAGE},
        {**OFF_OR_GARBAGE, "OTEL_SDK_DISABLED": "TRUE"},
    ],
    ids=lambda variables: "+".join(variables)[:60],
)
def test_otel_variables_never_reduce_spans(tmp_path, monkeypatch, variables):
    clear_variables(monkeypatch)
    records = [make_record("dense", requests=[REQUEST], attributes={"models_executed": ["m1", "m2"]}), FAILED]
    plain = emit_spans(RUN_ID, records, tmp_path / "plain.jsonl")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    report = emit_spans(RUN_ID, records, tmp_path / "spans.jsonl")
    assert read_spans(tmp_path / "spans.jsonl") == read_spans(tmp_path / "plain.jsonl")
    assert report.attributes == plain.attributes
    assert report.otlp.status in ("off", "failed")


def test_what_goes_out_obeys_the_variables(tmp_path, monkeypatch, received):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    assert emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp.status == "exported"
    [(_, request)] = received
    [sent] = request.resource_spans
    assert {span.name: len(span.attributes) for scope in sent.scope_spans for span in scope.spans} == {
        "rag.run": 0,
        **{f"rag.{stage}": 1 for stage in ASSET_OF_STAGE},
    }
    assert "deployment.environment" in {pair.key for pair in sent.resource.attributes}


def test_empty_sampling_sends_nothing(tmp_path, monkeypatch, received):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    report = emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp
    assert (report.status, report.reason) == ("off", "OTEL_TRACES_SAMPLER leaves out this run's spans")
    assert received == []
    assert len(read_spans(tmp_path / "spans.jsonl")) == len(ALL_STAGES) + 1


def test_spans_go_out_over_grpc(tmp_path, monkeypatch):
    received = []

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802 - the service's name for it
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    clear_variables(monkeypatch)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    report = emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp
    server.stop(None)
    assert report == otlp.OtlpReport(status="exported", protocol="grpc")
    assert names_of(received[0]) == {"rag.run", *(f"rag.{stage}" for stage in ASSET_OF_STAGE)}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refusing"])
def test_dead_collector_costs_under_a_second(tmp_path, monkeypatch, protocol, silent):
    clear_variables(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1] if silent else free_port()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        started = time.monotonic()
        report = emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp
        waited_s = time.monotonic() - started
    assert (report.status, report.protocol) == ("failed", protocol)
    # The bound is the contract: all that a step waits for a collector, not a speed of this machine.
    assert waited_s < otlp.BUDGET_S + 1
    assert len(read_spans(tmp_path / "spans.jsonl")) == len(ALL_STAGES) + 1


def test_a_protocol_that_is_unknown_is_named(tmp_path, monkeypatch):
    clear_variables(monkeypatch)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    report = emit_spans(RUN_ID, ALL_STAGES, tmp_path / "spans.jsonl").otlp
    assert report.status == "failed"
    assert "'http/json'" in report.reason
