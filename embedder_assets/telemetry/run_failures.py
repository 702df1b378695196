"""Why a run has failed, from its events: a sentence for each check and each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from embedder_assets.sanitize import of_markdown, one_line, safe_line

INTERRUPTED = "interrupted; what was computed is kept, and the next run goes on from there"
# Dagster's own failure of a step whose blocking check has failed; the check has the words.
CHECK_FAILED = "DagsterAssetCheckFailedError"


def kept_events(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    """The events that tell why a run has failed, from the event log, for who has not seen them happen."""
    kinds = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_FAILURE}
    return [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kinds) if entry.dagster_event]


def problems(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """A sentence for each check that failed with the severity ``error``, and for each other step that failed."""
    events = list(events)
    steps = (_problem(event) for event in events if event.is_step_failure)
    sentences = [*failed_checks(events, dg.AssetCheckSeverity.ERROR), *filter(None, steps)]
    return [safe_line(sentence) for sentence in sentences]


def failed_checks(events: Iterable[dg.DagsterEvent], severity: dg.AssetCheckSeverity) -> Iterator[str]:
    """A sentence for each check of a severity that has not passed."""
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed and evaluation.severity == severity:
                asset = evaluation.asset_key.to_user_string()
                yield one_line(f"check {evaluation.check_name} of {asset}: {of_markdown(evaluation.description or '')}")


def _problem(event: dg.DagsterEvent) -> str | None:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return f"{event.step_key}: unknown failure"
    if error.cls_name == CHECK_FAILED:
        return None
    if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        return INTERRUPTED
    return f"{event.step_key}: {error.message.strip()}"
