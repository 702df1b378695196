"""Telemetry of real runs: what the exporter shows, one trace into Triton, and that no text leaks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from embedder_assets.network.loopback import get
from embedder_assets.telemetry.event_log import records_of_run
from tests.support.command import BIN, TRACING_ALL, Embedder, environment, instance_of, write
from tests.support.processes import answers, eventually, free_port

# Words that are nowhere else.
PLANTED = {"document": "zyxquorn", "query": "vlimberhost", "heading": "Frobnigard"}


def latest(home: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    return manifest


@contextmanager
def exporter(home: Path, port: int) -> Iterator[str]:
    """``embedder exporter`` as a process; gives what a scrape returns."""
    variables = environment(home, EMBEDDER_METRICS_PORT=str(port))
    process = subprocess.Popen([str(BIN / "embedder"), "exporter"], env=variables, cwd=home.parent)
    url = f"http://127.0.0.1:{port}/metrics"

    try:
        assert eventually(lambda: answers(url), 30)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def scraped(url: str) -> list[str]:
    """The samples of a scrape, those that tell the time of a process left out."""
    with get(url, 5) as response:
        return sorted(line for line in response.read().decode().splitlines() if not line.startswith("#"))


def value(lines: list[str], name: str) -> float:
    return next(float(line.split()[1]) for line in lines if line.split()[0] == name)


def test_scrape_counts_every_batch_after_restart(embedder: Embedder, home: Path, corpus: Path) -> None:
    port = free_port()
    with exporter(home, port) as url:
        result = embedder("run", "--corpus", str(corpus), EMBEDDER_METRICS_PORT=str(port))
        assert result.returncode == 0, result.stdout + result.stderr
        assert "rag.rerank: emitted (rag_rerank_latency_seconds)" in result.stdout
        before = [line for line in scraped(url) if "_created" not in line]
    with instance_of(home) as instance:
        records = {record.stage: record for record in records_of_run(instance, latest(home)["run_id"])}
    for stage in ("dense", "sparse", "rerank", "export"):
        count = value(before, f"rag_{stage}_latency_seconds_count")
        assert count == len(records[stage].batch_latencies_s) > 0  # type: ignore[index]
    assert value(before, 'rag_runs_total{status="success"}') == 1
    with exporter(home, port) as url:
        assert [line for line in scraped(url) if "_created" not in line] == before


def test_unreachable_exporter_is_in_the_footer(embedder: Embedder, home: Path, corpus: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = str(deaf.getsockname()[1])
        result = embedder("run", "--corpus", str(corpus), EMBEDDER_METRICS_PORT=port)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "  rag.dense: skipped (the endpoint could not be scraped: " in result.stdout
        assert "warning check metrics_were_scraped of processing_summary: no scrape" in result.stdout
        assert (home / "exports" / "animals" / "manifest.json").exists()
        again = embedder("run", "--corpus", str(corpus), EMBEDDER_METRICS_PORT=port)
        assert "rag.dense: skipped (up to date, nothing to compute)" in again.stdout
    unroutable = {"EMBEDDER_METRICS_PORT": "1", "EMBEDDER_METRICS_ADDRESS": "192.0.2.1"}
    write(corpus / "animals" / "dog.md", "# The dog\n\nThe dog barks.\n")
    unseen = embedder("run", "--corpus", str(corpus), **unroutable)
    assert unseen.returncode == 0
    assert "warning check metrics_were_scraped of processing_summary: no scrape" in unseen.stdout


class OtlpReceiver:
    """An OTLP endpoint over HTTP: protobuf from OpenTelemetry's exporter, JSON from Triton."""

    def __init__(self) -> None:
        self.spans: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(body)
                receiver.take(body, self.headers["Content-Type"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes, content_type: str) -> None:
        if "json" in content_type:
            for resource in json.loads(body)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        self._add(span["name"], span["traceId"], span["spanId"], span.get("parentSpanId", ""))
            return
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for sent in scope_spans.spans:
                    self._add(sent.name, sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex())

    def _add(self, name: str, trace: str, span: str, parent: str) -> None:
        self.spans.append({"name": name, "trace": trace.lower(), "id": span.lower(), "parent": parent.lower()})

    def ancestors(self, span: dict[str, str]) -> list[str]:
        by_id = {each["id"]: each for each in self.spans}
        names = []
        while span["parent"] in by_id:
            span = by_id[span["parent"]]
            names.append(span["name"])
        return names

    def __enter__(self) -> OtlpReceiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_one_trace_reaches_down_to_triton(embedder: Embedder, home: Path, corpus: Path) -> None:
    with OtlpReceiver() as receiver:
        # Triton loses the spans of some requests, of the first ones most often; of two in each stage one is there.
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        result = embedder("run", "--corpus", str(corpus), program=TRACING_ALL, **variables)
        assert result.returncode == 0, result.stdout + result.stderr
    trace = uuid.UUID(latest(home)["run_id"]).hex
    assert {span["trace"] for span in receiver.spans} == {trace}
    computes = [receiver.ancestors(span) for span in receiver.spans if span["name"] == "compute"]
    for stage in ("dense", "sparse", "fuse", "rerank"):
        of_stage = [names for names in computes if f"rag.{stage}" in names]
        assert of_stage, f"no compute span of Triton below rag.{stage}"
        assert all(names[-3:] == ["rag.request", f"rag.{stage}", "rag.run"] for names in of_stage)


def test_telemetry_holds_no_text_or_id(embedder: Embedder, home: Path, corpus: Path, tmp_path: Path) -> None:
    text = f"# {PLANTED['heading']}\n\nA {PLANTED['document']} is an animal that hums.\n"
    document = write(corpus / "animals" / "planted-name.md", text)
    write(corpus / "animals" / "queries.jsonl", json.dumps({"_id": "q-planted", "text": PLANTED["query"]}) + "\n")
    port = free_port()
    with OtlpReceiver() as receiver, exporter(home, port) as url:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "EMBEDDER_METRICS_PORT": str(port)}
        result = embedder("run", "--corpus", str(corpus), program=TRACING_ALL, **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        metrics = "\n".join(scraped(url))
    spans = (home / "runs" / latest(home)["run_id"] / "spans.jsonl").read_text("utf-8")
    chunk_ids = _chunk_ids(home)
    assert chunk_ids
    for kind, said in {"span": spans, "metric": metrics, "otlp": repr(receiver.bodies)}.items():
        for word in [*PLANTED.values(), document.name, "q-planted", *chunk_ids]:
            assert word not in said, f"{word} in a {kind}"
    footer = result.stdout[result.stdout.index("Metrics emission summary") :]
    assert not [word for word in PLANTED.values() if word in footer]


def _chunk_ids(home: Path) -> list[str]:
    from embedder_assets.tables.store import TableStore

    return TableStore(home).read("chunks", "animals", ["chunk_id"])["chunk_id"].to_list()
