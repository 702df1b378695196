"""Loaded by the process that forks the others: what Dagster would otherwise load and compute in each, half a second."""

from __future__ import annotations

import gc

import dagster as dg

from embedder_assets.automation.jobs import rag_tables
from embedder_assets.definitions import defs
from embedder_assets.run import QUIET


@dg.op
def nothing() -> None:
    """A step, so that there is a run."""


@dg.job
def short() -> None:
    """A run of it loads what every run needs."""
    nothing()


with dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as instance:
    short.execute_in_process(instance=instance, run_config=QUIET)
defs.resolve_job_def(rag_tables.name).get_job_snapshot()
gc.freeze()
