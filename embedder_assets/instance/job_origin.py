"""Where a run comes from, for the UI: its timeline leaves out the runs of no code location."""

from __future__ import annotations

import functools

import dagster as dg

from embedder_assets.instance.dagster_private import (
    MAX_RETRIES_TAG,
    RegisteredCodeLocationOrigin,
    RemoteRepositoryOrigin,
)

# The name that the webserver, `workspace.yaml` and Docker Compose give to our code location.
CODE_LOCATION = "embedder_assets.definitions"
# The daemon would start a run again without the options of the command that started it.
NOT_RETRIED = {MAX_RETRIES_TAG: "0"}


def set_job_origin(instance: dg.DagsterInstance, repository: str, job: str) -> None:
    """Makes the runs that this process creates with an instance runs of a job of our code location.

    Args:
        instance: The opened instance; other processes' views of it are not touched.
        repository: Name of the repository that holds the job.
        job: Name of the job.
    """
    location = RegisteredCodeLocationOrigin(CODE_LOCATION)
    origin = RemoteRepositoryOrigin(location, repository).get_job_origin(job)
    # `execute_in_process` has no parameter for it.
    create = functools.partial(instance.create_run_for_job, remote_job_origin=origin)
    instance.create_run_for_job = create  # type: ignore[method-assign]
