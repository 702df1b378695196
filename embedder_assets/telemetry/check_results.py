"""The results of the asset checks for each collection, as the metadata of their evaluations keeps them.

A check of Dagster has one latest evaluation, and that may be of a run over other collections. So each evaluation says
in its metadata which collections its run has checked and with what result, and the latest result of a collection is
what counts. See docs/adr/0026.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import dagster as dg
from pydantic import BaseModel, ConfigDict

from embedder_assets.instance.dagster_private import (
    NOT_FINISHED_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

RESULTS_KEY = "results_by_collection"
EARLIER_KEY = "failed_in_earlier_runs"
# The oldest evaluation that was still due when this one was made: a queue ends its runs in another order than they
# came, and what a slow run says last must not be missed.
DUE_SINCE_KEY = "evaluations_due_since"
COMPLETED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
PAGE = 100
# A look at the newest few says whether more has to be read.
RECENT = 5


class CollectionResult(BaseModel):
    """The result of a check for one collection.

    Attributes:
        passed: Whether the check has passed.
        severity: ``error`` blocks what follows, ``warn`` does not.
        description: What is wrong, or a remark.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    severity: Literal["error", "warn"] = "error"
    description: str | None = None


CollectionResults = dict[str, CollectionResult]


def as_metadata(results: Mapping[str, CollectionResult]) -> dg.JsonMetadataValue:
    """Results by collection, as an evaluation keeps them."""
    return dg.MetadataValue.json({name: each.model_dump(exclude_none=True) for name, each in results.items()})


class EarlierFailures(NamedTuple):
    """Failures of a check for collections that the present run is not about.

    Attributes:
        results: Those that failed, the latest result of each.
        due_since: Id of the oldest evaluation of another run that is still due; None where there is none.
    """

    results: CollectionResults
    due_since: int | None


def earlier_failures(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, collections: Collection[str], run_id: str
) -> EarlierFailures:
    """Failures of a check for collections, by earlier evaluations and those of other runs in progress."""
    if not collections:
        return EarlierFailures({}, None)
    records: list[AssetCheckExecutionRecord] = []
    newest: AssetCheckExecutionRecord | None = None
    for page in _pages(instance, check):
        records += page
        newest = newest or next((record for record in page if record.status in COMPLETED), None)
        # The newest evaluation repeats what those before it had, but for those that were still due then.
        if newest is not None and page[-1].id <= _due_since(newest):
            break
    found = _results(newest, EARLIER_KEY) if newest else {}
    for record in reversed(records):
        found.update(_results(record, RESULTS_KEY))
    failed = {name: each for name, each in found.items() if name in collections and not each.passed}
    return EarlierFailures(failed, _oldest_due(instance, [each for each in records if each.run_id != run_id]))


class LatestResults:
    """The latest result of each check for each collection; later reads look only at what is new.

    Args:
        instance: Whose evaluations are read.
        checks: The asset checks of the code location.
    """

    def __init__(self, instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> None:
        self._instance = instance
        self._checks = list(checks)
        self._newest: dict[dg.AssetCheckKey, tuple[object, ...]] = {}
        self._results: dict[dg.AssetCheckKey, CollectionResults] = {}
        # The oldest evaluation that was due at the last call, of a run that began before the newest evaluation's.
        self._due_since: dict[dg.AssetCheckKey, int] = {}

    def read(self, known: Collection[str]) -> Mapping[dg.AssetCheckKey, CollectionResults]:
        """Check to collection to result, of those collections that exist."""
        summaries = self._instance.event_log_storage.get_asset_check_summary_records(self._checks)
        for check, summary in summaries.items():
            newest = summary.last_completed_check_execution_record
            if newest is None:
                self._results.pop(check, None)
                self._newest.pop(check, None)
            elif check in self._due_since or _identity(newest) != self._newest.get(check):
                self._results[check] = self._read(check, known)
                self._newest[check] = _identity(newest)
        return {
            check: {name: result for name, result in results.items() if name in known}
            for check, results in self._results.items()
        }

    def _read(self, check: dg.AssetCheckKey, known: Collection[str]) -> CollectionResults:
        """Back to all that was due at the last call and the newest evaluation of then, or until all are found."""
        newest, due_since = self._newest.get(check), self._due_since.pop(check, None)
        found: CollectionResults = {}
        records: list[AssetCheckExecutionRecord] = []
        met = False
        for page in _pages(self._instance, check):
            records += page
            for record in page:
                found = {**_results(record, RESULTS_KEY), **found}
            met = met or any(_identity(record) == newest for record in page)
            settled = met and (due_since is None or page[-1].id <= due_since)
            if settled or found.keys() >= set(known):
                break
        due = _oldest_due(self._instance, records)
        if due is not None:
            self._due_since[check] = due
        return {**self._results[check], **found} if met else found


def _pages(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Iterator[Sequence[AssetCheckExecutionRecord]]:
    """The evaluations of a check, and those that are due, in the order in which their runs began, newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history
    page, limit = history(check, RECENT), PAGE
    while page:
        yield page
        page = history(check, limit, page[-1].id)


def _oldest_due(instance: dg.DagsterInstance, records: Sequence[AssetCheckExecutionRecord]) -> int | None:
    """Id of the oldest of these evaluations that may still be made: it is due, and its run has not ended."""
    due = [record for record in records if record.status not in COMPLETED]
    if not due:
        return None
    runs = dg.RunsFilter(run_ids=[record.run_id for record in due], statuses=NOT_FINISHED_STATUSES)
    going_on = {run.run_id for run in instance.get_runs(runs)}
    return min((record.id for record in due if record.run_id in going_on), default=None)


def _due_since(record: AssetCheckExecutionRecord) -> int:
    """What an evaluation says of the others; where it says nothing, none was due but its own."""
    value = record.evaluation.metadata.get(DUE_SINCE_KEY) if record.evaluation else None
    return value.value if isinstance(value, dg.IntMetadataValue) and value.value is not None else record.id


def _results(record: AssetCheckExecutionRecord, key: str) -> CollectionResults:
    evaluation = record.evaluation if record.status in COMPLETED else None
    value = evaluation.metadata.get(key) if evaluation else None
    content = value.value if isinstance(value, dg.JsonMetadataValue) else None
    return (
        {name: CollectionResult.model_validate(each) for name, each in content.items()}
        if isinstance(content, dict)
        else {}
    )


def _identity(record: AssetCheckExecutionRecord) -> tuple[object, ...]:
    """Tells an evaluation from every other one: ids of wiped ones are given out again."""
    return record.id, record.run_id, record.event.timestamp if record.event else None
