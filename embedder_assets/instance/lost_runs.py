"""Runs whose process has died before it could report the end of the run.

Dagster's launcher sees the end of a run that it started itself, as long as it lives. What it cannot see is the end of
``embedder run``, of a machine, or its own, and a run whose end the storage did not take.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from embedder_assets.instance.run_lock import is_lost, remove_ended

MESSAGE = (
    "The process of this run is gone and has reported no end: it was killed, the machine was out of memory, or it lost "
    "power. What was computed is kept, and the next run goes on from there."
)


def fail_lost_runs(instance: dg.DagsterInstance, home: Path) -> list[str]:
    """Marks the lost runs among those that count as in progress as failed; returns their ids."""
    started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]))
    lost = [run for run in started if is_lost(home, run.run_id)]
    remove_ended(home, {run.run_id for run in started})
    for run in lost:
        instance.report_run_failed(run, MESSAGE)
    return [run.run_id for run in lost]
