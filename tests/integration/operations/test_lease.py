"""Leases of real runs: in the manifest, and with the models of one stage in Triton's memory."""

from __future__ import annotations

from pathlib import Path

from embedder_assets.assets.support.pool import POOL
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import load_settings
from tests.integration.operations.test_telemetry import latest
from tests.support.command import Embedder, instance_of


def test_model_stages_leave_leases_in_manifest(embedder: Embedder, home: Path, corpus: Path) -> None:
    result = embedder("run", "--corpus", str(corpus), EMBEDDER_GPU_LEASE_POLICY="exclusive")
    assert result.returncode == 0, result.stdout + result.stderr
    events = [(event["stage"], event["event"], event["policy"]) for event in latest(home)["lease_events"]]
    stages = ("dense", "sparse", "fuse", "rerank")
    assert events == [(stage, event, "exclusive") for stage in stages for event in ("acquired", "released")]
    with instance_of(home) as instance:
        info = instance.event_log_storage.get_concurrency_info(POOL)
    assert (info.slot_count, info.claimed_slots, info.pending_steps) == (1, [], [])


def test_exclusive_loads_one_stages_models(home: Path) -> None:
    session = TritonSession(load_settings({"home": (home, "test")}, environ={}))
    try:
        with session.models_in_use(["dense_minilm"], exclusive=True):
            list(session.infer_many("dense_minilm", [[("one",)]]))
        address = session.address
        assert address is not None
        client = TritonClient(address, 60)
        assert client.loaded_models() == []
        with session.models_in_use(["sparse_splade"], exclusive=False):
            list(session.infer_many("sparse_splade", [[("two",)]]))
        with session.models_in_use(["dense_minilm"], exclusive=True):
            list(session.infer_many("dense_minilm", [[("three",)]]))
            assert client.loaded_models() == ["dense_minilm"]
        client.close()
    finally:
        session.close()
