"""Slots of a Dagster concurrency pool, claimed by the stage itself: so waiting is measured, and the dead lose theirs.

Dagster's own ``pool=`` on an asset frees the slot of a process that was killed only where its daemon watches runs, so
the next ``embedder run`` would wait for ever. Here each holder also holds a file lock, which the kernel releases with
the process; who waits frees the slots of those that let go of theirs. The pool is an ordinary one: the UI shows it
under Deployment, Concurrency.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

POOL = "triton_gpu"
POLL_S = 0.2


@dataclass(frozen=True)
class Pool:
    """The pool of one Dagster instance.

    Attributes:
        instance: Whose runs share the accelerator.
        locks: Folder of the holders' file locks; shared by all processes of a home.
        slots: Holders at a time.
    """

    instance: dg.DagsterInstance
    locks: Path
    slots: int

    @contextmanager
    def slot(self, run_id: str, step_key: str) -> Iterator[float]:
        """Holds a slot while the context lasts, and gives the seconds it was waited for."""
        storage = self.instance.event_log_storage
        if not storage.supports_global_concurrency_limits:  # an instance in memory: nobody to share with
            yield 0.0
            return
        self.locks.mkdir(parents=True, exist_ok=True)
        file = self._file(run_id, step_key)
        with FileLock(file):
            try:
                yield self._claim(run_id, step_key)
            finally:
                storage.free_concurrency_slot_for_step(run_id, step_key)
                file.unlink(missing_ok=True)

    def _claim(self, run_id: str, step_key: str) -> float:
        storage, started = self.instance.event_log_storage, time.monotonic()
        if self._limit_differs():
            # Dagster looks and then inserts: of two runs on a new instance the second would fail.
            with FileLock(self.locks / "limit.lock"):
                if self._limit_differs():
                    storage.set_concurrency_slots(POOL, self.slots)
        while not storage.claim_concurrency_slot(POOL, run_id, step_key).is_claimed:
            self._free_dead_holders()
            time.sleep(POLL_S)
        return time.monotonic() - started

    def _limit_differs(self) -> bool:
        return self.instance.event_log_storage.get_concurrency_info(POOL).slot_count != self.slots

    def _free_dead_holders(self) -> None:
        """Gives back what holders had, or waited for, whose process has ended without saying so."""
        info = self.instance.event_log_storage.get_concurrency_info(POOL)
        holders = {(slot.run_id, slot.step_key) for slot in info.claimed_slots}
        holders |= {(step.run_id, step.step_key) for step in info.pending_steps}
        for run_id, step_key in holders:
            if self._is_dead(run_id, step_key):
                self.instance.event_log_storage.free_concurrency_slot_for_step(run_id, step_key)

    def _is_dead(self, run_id: str, step_key: str) -> bool:
        file = self._file(run_id, step_key)
        if file.exists():
            try:
                with FileLock(file, timeout=0):
                    file.unlink(missing_ok=True)
                    return True
            except Timeout:
                return False
        # No lock in this home: on another host, or already let go; only Dagster can tell.
        run = self.instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    def _file(self, run_id: str, step_key: str) -> Path:
        return self.locks / f"{run_id}-{step_key}.lock"
