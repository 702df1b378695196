"""``embedder serve`` as a process, and what a running Triton says it has computed."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from embedder_assets.serving.server.access import TritonAddress
from embedder_assets.serving.server.embedded import find_running
from tests.support.command import BIN, environment
from tests.support.processes import eventually, own_free_ports


@contextmanager
def served(home: Path, **variables: str) -> Iterator[TritonAddress]:
    """While the context lasts; gives what it has published."""
    (home / "triton").mkdir(parents=True, exist_ok=True)
    last_ports = home / "triton" / "ports.json"
    if not last_ports.exists():
        # It takes them again: when it ends, no server of another test comes in their place.
        last_ports.write_text(json.dumps(dict(zip(("grpc", "metrics"), own_free_ports(2), strict=True))))
    log = home / "serve.log"
    with log.open("w") as said:
        command = [str(BIN / "embedder"), "serve"]
        process = subprocess.Popen(command, env=environment(home, **variables), cwd=home, stdout=said, stderr=said)
    try:
        assert eventually(lambda: find_running(home / "triton") is not None, 60), log.read_text("utf-8")
        address = find_running(home / "triton")
        assert address is not None
        yield address
    finally:
        process.terminate()
        process.wait(30)


def inference_counts(address: TritonAddress) -> dict[str, int]:
    """Model to the texts and pairs that a server has computed with it: ``nv_inference_count`` of its metrics."""
    assert address.metrics_url is not None
    with urllib.request.urlopen(address.metrics_url, timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
    samples = [sample for f in families if f.name == "nv_inference_count" for sample in f.samples]
    return {sample.labels["model"]: int(sample.value) for sample in samples}
