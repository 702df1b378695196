"""The lease of a stage on the accelerator: a slot of the pool, its models in Triton, and a look at the memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import dagster as dg

from embedder_assets.assets.support.pool import Pool
from embedder_assets.run_context import Pipeline
from embedder_assets.serving.client.memory import ProcessMemory
from embedder_assets.settings import Settings
from embedder_assets.telemetry.stage_record import LeaseEvent, StageMeter, StageName

# As often as Triton itself looks at the GPU (``--metrics-interval-ms``).
MEMORY_INTERVAL_S = 0.5
# Stages of all runs of the instance that share a server: with more, each waits for the others' requests.
SLOTS_PER_SERVER = 4


@contextmanager
def acquire_lease(context: dg.OpExecutionContext, pipeline: Pipeline, meter: StageMeter) -> Iterator[None]:
    """Holds the accelerator for a stage while the context lasts; both ends are reported to the meter.

    A stage without models needs none.
    """
    settings, models = pipeline.settings, models_of(pipeline.settings, meter.stage)
    if not models:
        yield
        return
    exclusive = settings.gpu_lease_policy == "exclusive"
    slots = 1 if exclusive else SLOTS_PER_SERVER * max(1, len(settings.triton_url))
    pool = Pool(context.instance, settings.home / "locks" / "leases", slots)

    def record(event: Literal["acquired", "released"], waited_s: float = 0.0) -> None:
        meter.record_lease(
            LeaseEvent(
                event=event,
                policy=settings.gpu_lease_policy,
                at=time.time(),
                waited_s=round(waited_s, 3),
                gpu_used_bytes=pipeline.triton.gpu_memory_bytes(),
                models=models,
            )
        )

    with pool.slot(context.run.run_id, context.op_handle.name) as waited_s:
        record("acquired", waited_s)
        try:
            with MemorySampler(pipeline, meter), pipeline.triton.models_in_use(models, exclusive=exclusive):
                yield
        finally:
            record("released")


def models_of(settings: Settings, stage: StageName) -> list[str]:
    """The models in Triton that a stage may use; to fuse, the queries are embedded by those of the first stage."""
    dense, sparse = list(settings.dense_models), [settings.sparse_model]
    return {
        "dense": dense,
        "sparse": sparse,
        "fuse": [*dense, *(sparse if settings.enable_sparse else [])],
        "rerank": [settings.rerank_model],
    }.get(stage, [])


class MemorySampler:
    """Looks at the memory in use twice per second while the context lasts, and reports it to a stage's meter."""

    def __init__(self, pipeline: Pipeline, meter: StageMeter) -> None:
        self._triton = pipeline.triton
        self._meter = meter
        self._processes = ProcessMemory()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._over.wait(MEMORY_INTERVAL_S):
            self._look()

    def _look(self) -> None:
        self._meter.record_gpu_memory(self._triton.gpu_memory_bytes())
        server = self._triton.server_pid
        self._meter.record_host_memory(self._processes.used_bytes(os.getpid(), *([server] if server else [])))
