"""Runs assets of one collection as a Dagster run in this process, and says what that took."""

from __future__ import annotations

import time
from dataclasses import dataclass

import dagster as dg

from embedder_assets.definitions import defs
from embedder_assets.run import QUIET


@dataclass(frozen=True)
class Took:
    """What a run took.

    Attributes:
        seconds: Of the whole run, Dagster's own part and the end of Triton included.
        steps: Seconds of each asset's step; the first that needs a model starts Triton.
    """

    seconds: float
    steps: dict[str, float]


def materialize(collection: str, *assets: str) -> Took:
    """Materializes assets of one collection."""
    started = time.perf_counter()
    result = defs.resolve_job_def("rag_tables").execute_in_process(
        partition_key=collection,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        run_config=QUIET,
        instance=dg.DagsterInstance.ephemeral(),
    )
    seconds = time.perf_counter() - started
    steps = {
        event.step_key: float(event.step_success_data.duration_ms) / 1000
        for event in result.all_node_events
        if event.is_step_success and event.step_key in assets
    }
    return Took(seconds, steps)
