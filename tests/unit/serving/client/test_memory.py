"""GPU memory from Triton's metrics: ``four_gpus.txt`` has a published scrape of a machine with four GPUs of 16.9 GB."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from embedder_assets.assets.support import lease
from embedder_assets.assets.support.lease import MemorySampler, models_of
from embedder_assets.serving.client import session as session_module
from embedder_assets.serving.client.memory import ProcessMemory, gpu_memory_of_driver, gpu_memory_of_metrics
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from embedder_assets.telemetry.manifest.sections import performance_baseline
from embedder_assets.telemetry.stage_record import StageMeter
from tests.conftest import PROJECT
from tests.support.factories import make_settings

FOUR_GPUS = (PROJECT / "tests/unit/triton_metrics" / "four_gpus.txt").read_text("utf-8")
USED = {
    "GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a": 7451181056,
    "GPU-8674351b-fff7-56c3-f545-26313154b8ed": 7111442432,
    "GPU-4bb61721-0ae2-9004-636f-e73bab9ef8e0": 7111442432,
    "GPU-7a9c9f44-ff57-1177-e21a-1740a8cf1a65": 7329546240,
}
FIRST = next(iter(USED))
NO_GPU = "\n".join(line for line in FOUR_GPUS.splitlines() if "_gpu_" not in line) + "\n"


def test_every_device_has_its_value():
    assert gpu_memory_of_metrics(FOUR_GPUS) == USED


def test_metrics_without_gpu_have_no_device():
    assert gpu_memory_of_metrics(NO_GPU) == {}


def test_missing_driver_reports_no_memory():
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    assert gpu_memory_of_driver() == {}


@pytest.fixture
def texts() -> list[str]:
    """What the server's metrics say, one text a scrape; the last one stays."""
    return [FOUR_GPUS]


@pytest.fixture
def metrics_url(texts: list[str]) -> Iterator[str]:
    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (texts.pop(0) if len(texts) > 1 else texts[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


@pytest.fixture
def session(tmp_path: Path, metrics_url: str) -> Iterator[TritonSession]:
    """A session on a server elsewhere, of which only the metrics are there."""
    made = TritonSession(make_settings(tmp_path, triton_url="gpu-host:8001", triton_metrics_url=metrics_url))
    made._client.servers._client()
    yield made
    made.close()


def with_first_at(used: int) -> str:
    return FOUR_GPUS.replace("7451181056.000000", f"{used}.000000")


def test_stage_peak_reaches_gauge_and_manifest(tmp_path, session, texts, monkeypatch):
    monkeypatch.setattr(lease, "MEMORY_INTERVAL_S", 0.01)
    texts[:] = [FOUR_GPUS, with_first_at(13_500_000_000), FOUR_GPUS]
    meter = StageMeter("dense", ["kb"])
    with MemorySampler(SimpleNamespace(triton=session), meter):
        while len(texts) > 1:
            pass
    record = meter.record()
    assert record.gpu_peak_bytes == {**USED, FIRST: 13_500_000_000}
    assert record.host_peak_bytes is None
    metrics = StageMetrics(CollectorRegistry())
    metrics.observe(record)
    gauge = metrics.registry.get_sample_value
    assert gauge("rag_gpu_peak_bytes", {"stage": "dense", "device": FIRST}) == 13_500_000_000
    gpu = performance_baseline(make_settings(tmp_path), [record]).gpu
    assert (gpu.status, gpu.soft_limit_exceeded, gpu.soft_limit_devices) == ("exceeded_soft_limit", True, [FIRST])
    assert (gpu.peak_memory_used_gb, gpu.soft_limit_gb) == (13.5, 12.0)
    assert set(gpu.stages["dense"]) == set(USED)


def test_limit_applies_per_device(tmp_path, session):
    meter = StageMeter("rerank", ["kb"])
    with MemorySampler(SimpleNamespace(triton=session), meter):
        pass
    gpu = performance_baseline(make_settings(tmp_path), [meter.record()]).gpu
    assert sum(gpu.devices.values()) > 12
    assert (gpu.status, gpu.soft_limit_devices) == ("within_limit", [])


def test_configured_limit_applies(tmp_path, session):
    meter = StageMeter("rerank", ["kb"])
    with MemorySampler(SimpleNamespace(triton=session), meter):
        pass
    gpu = performance_baseline(make_settings(tmp_path, gpu_soft_limit_gb=7.2), [meter.record()]).gpu
    assert gpu.soft_limit_devices == sorted([FIRST, "GPU-7a9c9f44-ff57-1177-e21a-1740a8cf1a65"])


def test_host_memory_is_reported_without_gpu(tmp_path, session, texts):
    texts[:] = [NO_GPU]
    meter = StageMeter("dense", ["kb"])
    with MemorySampler(SimpleNamespace(triton=session), meter):
        pass
    record = meter.record()
    assert record.gpu_peak_bytes == {}
    assert record.host_peak_bytes > 10_000_000
    metrics = StageMetrics(CollectorRegistry())
    metrics.observe(record)
    assert [sample for family in metrics.registry.collect() for sample in family.samples if "gpu" in sample.name] == []
    baseline = performance_baseline(make_settings(tmp_path), [record])
    assert (baseline.gpu.status, baseline.gpu.peak_memory_used_gb) == ("no_gpu", None)
    assert baseline.host.peak_memory_used_gb == round(record.host_peak_bytes / 1e9, 3)


def test_server_without_gpu_is_scraped_once(session, texts):
    texts[:] = [NO_GPU, FOUR_GPUS]
    assert session.gpu_memory_bytes() == {}
    assert session.gpu_memory_bytes() == {}
    assert texts == [FOUR_GPUS]


def test_driver_is_ignored_for_remote_servers(session, monkeypatch):
    monkeypatch.setattr(session_module, "gpu_memory_of_driver", lambda: {FIRST: 99_000_000_000})
    assert session.gpu_memory_bytes() == USED


def test_larger_of_metrics_and_driver_counts(tmp_path, metrics_url, monkeypatch):
    monkeypatch.setattr(session_module, "gpu_memory_of_driver", lambda: {FIRST: 9_000_000_000, "GPU-new": 1})
    here = TritonSession(make_settings(tmp_path, triton_url="127.0.0.1:8001", triton_metrics_url=metrics_url))
    here._client.servers._client()
    assert here.gpu_memory_bytes() == {**USED, FIRST: 9_000_000_000, "GPU-new": 1}
    here.close()


def test_devices_of_all_servers_count(tmp_path, metrics_url, texts):
    urls = (metrics_url, metrics_url.replace("metrics", "other"), "http://127.0.0.1:9/metrics")
    texts[:] = [NO_GPU, with_first_at(9_000_000_000), FOUR_GPUS]
    several = TritonSession(make_settings(tmp_path, triton_url="gpu-a:1,gpu-b:1,gpu-c:1", triton_metrics_url=urls[:2]))
    several._client.servers._started()
    assert several.gpu_memory_bytes() == {**USED, FIRST: 9_000_000_000}
    several.close()
    texts[:] = [NO_GPU, NO_GPU, FOUR_GPUS]
    partly = TritonSession(make_settings(tmp_path, triton_url="gpu-a:1,gpu-b:1,gpu-c:1", triton_metrics_url=urls))
    partly._client.servers._started()
    assert partly.gpu_memory_bytes() == {}
    assert partly.gpu_memory_bytes() == USED
    partly.close()


def test_ended_process_uses_no_memory():
    memory = ProcessMemory()
    alone = memory.used_bytes(os.getpid())
    assert alone > 0
    assert memory.used_bytes(2**22 + 1) == 0


def test_stage_leases_its_models(tmp_path):
    settings = make_settings(tmp_path, dense_models=("a", "b"), sparse_model="s", rerank_model="r")
    assert {
        stage: models_of(settings, stage) for stage in ("chunk", "dense", "sparse", "fuse", "rerank", "export")
    } == {
        "chunk": [],
        "dense": ["a", "b"],
        "sparse": ["s"],
        "fuse": ["a", "b", "s"],
        "rerank": ["r"],
        "export": [],
    }
    assert models_of(make_settings(tmp_path, dense_models=("a",), enable_sparse=False), "fuse") == ["a"]
