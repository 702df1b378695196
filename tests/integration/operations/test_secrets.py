"""A recognizable secret in every setting that can hold one, and a look at all that was said and written."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.command import TRACING_ALL, Embedder
from tests.support.processes import free_ports

SECRET = "S3cr3tW0rd"


class CommandLines:
    """Every command line of this machine that held the secret while the context lasted."""

    def __init__(self) -> None:
        self.found: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = file.read_bytes()
                except OSError:
                    continue
                if SECRET.encode() in words:
                    self.found.add(words)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_secrets_are_neither_printed_nor_written(embedder: Embedder, home: Path, corpus: Path, tmp_path: Path) -> None:
    collector, gateway = free_ports(2)
    variables = {
        "EMBEDDER_METRICS_PUSH_URL": f"http://me:{SECRET}@127.0.0.1:{gateway}/?token={SECRET}",
        "EMBEDDER_TRITON_TRACE_URL": f"http://me:{SECRET}@127.0.0.1:{collector}/v1/traces?api_key={SECRET}",
        "EMBEDDER_TRITON_METRICS_URL": f"http://me:{SECRET}@127.0.0.1:{collector}/metrics",
        "EMBEDDER_LINKS": f"trace=http://me:{SECRET}@traces.test/{{trace_id}}?key={SECRET},"
        f"dashboard=http://me:{SECRET}@dashboard.test/?auth_token={SECRET}",
        "EMBEDDER_METRICS_PASSWORD": SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:{collector}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic {SECRET},no pair {SECRET}",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    said = []
    with CommandLines() as seen:
        for command in (["run", "--corpus", str(corpus)], ["doctor"], ["summary", "show"], ["search", "a predator"]):
            result = embedder(*command, program=TRACING_ALL, **variables)
            said += [result.stdout, result.stderr]
            assert command[0] == "doctor" or result.returncode == 0, result.stderr
        for name in ("EMBEDDER_TABLES_URL", "EMBEDDER_TRITON_URL", "EMBEDDER_CORPUS_URL"):
            result = embedder("run", **{name: f"s3://me:{SECRET}@bucket/x"})
            assert result.returncode == 1
            said += [result.stdout, result.stderr]
    assert "metrics were not pushed" in said[4]
    assert not [text for text in said if SECRET in text]
    assert seen.found == set()
    files = [file for file in home.rglob("*") if file.is_file()]
    assert len(files) > 50
    assert [str(file) for file in files if SECRET.encode() in file.read_bytes()] == []
