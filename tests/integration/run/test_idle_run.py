"""A run with nothing to do, with the built models and a running ``embedder serve``: Triton computes nothing."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import Embedder
from tests.support.servers.served import inference_counts, served

MODELS = {"dense_minilm", "sparse_splade", "rerank_cross_encoder"}
UP_TO_DATE = ("dense", "sparse", "rerank", "export")


def test_the_inference_count_stays_when_nothing_has_changed(embedder: Embedder, home: Path, corpus: Path) -> None:
    with served(home) as server:
        first = embedder("run", "--corpus", str(corpus))
        assert first.returncode == 0, first.stdout + first.stderr
        computed = inference_counts(server)
        assert computed.keys() >= MODELS
        assert all(computed[model] > 0 for model in MODELS)

        second = embedder("run", "--corpus", str(corpus))
        assert second.returncode == 0, second.stdout + second.stderr
        assert inference_counts(server) == computed
        for stage in UP_TO_DATE:
            assert f"rag.{stage}: skipped (up to date, nothing to compute)" in second.stdout
