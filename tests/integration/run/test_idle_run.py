"""A run with nothing to do, with the built models and a running ``embedder serve``: Triton computes nothing."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from embedder_assets.serving.server.embedded import find_running
from tests.support.command import BIN, Embedder, environment
from tests.support.processes import eventually

MODELS = {"dense_minilm", "sparse_splade", "rerank_cross_encoder"}
UP_TO_DATE = ("dense", "sparse", "rerank", "export")


def inferences(home: Path) -> dict[str, int]:
    """``nv_inference_count`` by model, as a scrape of the running server shows it."""
    running = find_running(home / "triton")
    assert running is not None
    assert running.metrics_url is not None
    with urllib.request.urlopen(running.metrics_url, timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
    samples = [sample for f in families if f.name == "nv_inference_count" for sample in f.samples]
    return {sample.labels["model"]: int(sample.value) for sample in samples}


def test_the_inference_count_stays_when_nothing_has_changed(embedder: Embedder, home: Path, corpus: Path) -> None:
    serve = subprocess.Popen([str(BIN / "embedder"), "serve"], env=environment(home), stdout=subprocess.PIPE)
    try:
        assert eventually(lambda: find_running(home / "triton") is not None, seconds=60)
        first = embedder("run", "--corpus", str(corpus))
        assert first.returncode == 0, first.stdout + first.stderr
        computed = inferences(home)
        assert computed.keys() >= MODELS
        assert all(computed[model] > 0 for model in MODELS)

        second = embedder("run", "--corpus", str(corpus))
        assert second.returncode == 0, second.stdout + second.stderr
        assert inferences(home) == computed
        for stage in UP_TO_DATE:
            assert f"rag.{stage}: skipped (up to date, nothing to compute)" in second.stdout
    finally:
        serve.send_signal(signal.SIGINT)
        serve.wait(timeout=60)
