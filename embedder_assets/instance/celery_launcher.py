"""Dagster's launcher of runs as tasks of Celery, in which a run that somebody terminates is not retried.

Named by ``deploy/celery/dagster.yaml``; needs the extra ``celery``.
"""

from __future__ import annotations

from dagster_celery.launcher import CeleryRunLauncher


class CancelingCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's class, which says that a run is to be canceled before it interrupts it."""

    def terminate(self, run_id: str) -> bool:
        """Ends a run; whether there was one to end.

        An interrupted run looks whether it was to be canceled; otherwise it calls itself failed, and is retried.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)
