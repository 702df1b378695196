"""What the asset checks say of each collection, as their evaluations keep it.

A check of Dagster has one newest evaluation, and that may be of a run over other collections. So each evaluation says
in its metadata which collections its run has asked about and what came out for each, and the newest word on a
collection is what counts. See docs/adr/0030.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from pydantic import BaseModel, ConfigDict

VERDICTS_KEY = "verdicts"
EARLIER_KEY = "failed_in_earlier_runs"
COMPLETED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
PAGE = 100
# More than the runs that are on at once, which end in another order than they began.
RECENT = 5


class Verdict(BaseModel):
    """What a check says of one collection.

    Attributes:
        passed: Whether it holds.
        severity: ``error`` blocks what follows, ``warn`` does not.
        words: What is wrong, or a remark.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    severity: Literal["error", "warn"] = "error"
    words: str | None = None


Verdicts = dict[str, Verdict]


def as_metadata(verdicts: Mapping[str, Verdict]) -> dg.JsonMetadataValue:
    """Verdicts by collection, as an evaluation keeps them."""
    return dg.MetadataValue.json({name: each.model_dump(exclude_none=True) for name, each in verdicts.items()})


def earlier_failures(instance: dg.DagsterInstance, check: dg.AssetCheckKey, collections: Collection[str]) -> Verdicts:
    """What a check has against collections that the present run is not about, in the newest word on each."""
    if not collections:
        return {}
    recent = [record for record in _history(instance, check, RECENT) if record.status in COMPLETED]
    # The newest evaluation repeats what those before it had against collections that were not theirs.
    found = _verdicts(recent[0], EARLIER_KEY) if recent else {}
    for record in reversed(recent):
        found.update(_verdicts(record, VERDICTS_KEY))
    return {name: each for name, each in found.items() if name in collections and not each.passed}


class NewestVerdicts:
    """The newest word of each check on each collection; later reads look only at what is new.

    Args:
        instance: Whose evaluations are read.
        checks: The asset checks of the code location.
    """

    def __init__(self, instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> None:
        self._instance = instance
        self._checks = list(checks)
        self._newest: dict[dg.AssetCheckKey, tuple[object, ...]] = {}
        self._verdicts: dict[dg.AssetCheckKey, Verdicts] = {}
        # Checks of which a run that began before the newest evaluation may still have something to say.
        self._unsettled: set[dg.AssetCheckKey] = set()

    def read(self, known: Collection[str]) -> Mapping[dg.AssetCheckKey, Verdicts]:
        """Check to collection to verdict, of those collections that there are."""
        summaries = self._instance.event_log_storage.get_asset_check_summary_records(self._checks)
        for check, summary in summaries.items():
            newest = summary.last_completed_check_execution_record
            if newest is None:
                self._verdicts.pop(check, None)
                self._newest.pop(check, None)
            elif check in self._unsettled or _identity(newest) != self._newest.get(check):
                self._verdicts[check] = self._read(check, known)
                self._newest[check] = _identity(newest)
        return {
            check: {name: verdict for name, verdict in verdicts.items() if name in known}
            for check, verdicts in self._verdicts.items()
        }

    def _read(self, check: dg.AssetCheckKey, known: Collection[str]) -> Verdicts:
        """From the newest evaluation back to the one that was the newest at the last call, or until all are found."""
        page = _history(self._instance, check, RECENT)
        planned = any(record.status not in COMPLETED for record in page)
        (self._unsettled.add if planned else self._unsettled.discard)(check)
        found: Verdicts = {}
        while page:
            for record in page:
                found = {**_verdicts(record, VERDICTS_KEY), **found}
            if any(_identity(record) == self._newest.get(check) for record in page):
                return {**self._verdicts[check], **found}
            if found.keys() >= set(known):
                break
            page = _history(self._instance, check, PAGE, page[-1].id)
        return found


def _history(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, limit: int, before: int | None = None
) -> Sequence[AssetCheckExecutionRecord]:
    """The evaluations of a check, and those that are due, in the order in which their runs began, newest first."""
    return instance.event_log_storage.get_asset_check_execution_history(check, limit, before)


def _verdicts(record: AssetCheckExecutionRecord, key: str) -> Verdicts:
    evaluation = record.evaluation if record.status in COMPLETED else None
    value = evaluation.metadata.get(key) if evaluation else None
    content = value.value if isinstance(value, dg.JsonMetadataValue) else None
    return {name: Verdict.model_validate(each) for name, each in content.items()} if isinstance(content, dict) else {}


def _identity(record: AssetCheckExecutionRecord) -> tuple[object, ...]:
    """Tells an evaluation from every other one: ids of wiped ones are given out again."""
    return record.id, record.run_id, record.event.timestamp if record.event else None
