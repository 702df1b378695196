"""Stage records in the Dagster event log: durable, shared by all hosts, and written even when a stage fails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import dagster as dg

from embedder_assets.sanitize import inert_markdown, one_line
from embedder_assets.telemetry.stage_record import StageName, StageRecord

RECORD_METADATA_KEY = "stage_record"
ASSET_OF_STAGE: dict[StageName, str] = {
    "chunk": "chunks",
    "dense": "dense_embeddings",
    "sparse": "sparse_embeddings",
    "fuse": "fused_candidates",
    "rerank": "reranked_candidates",
    "export": "exports",
}
RunEnd = Literal[dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED]
ENDED: dict[RunEnd, str] = {
    dg.DagsterEventType.RUN_SUCCESS: "success",
    dg.DagsterEventType.RUN_FAILURE: "failure",
    dg.DagsterEventType.RUN_CANCELED: "canceled",
}
Fetch = Callable[[int], Sequence[dg.EventLogRecord]]

PAGE = 500
# PostgreSQL gives out ids before the events can be seen, so one may appear behind a later one.
OVERLAP = 20


def as_observation(record: StageRecord) -> dg.AssetObservation:
    """The event that carries a record."""
    return dg.AssetObservation(
        ASSET_OF_STAGE[record.stage],
        description=inert_markdown(
            f"rag.{record.stage}: {record.status}{f' ({one_line(record.reason)})' if record.reason else ''}"
        ),
        metadata={RECORD_METADATA_KEY: dg.MetadataValue.json(record.model_dump(mode="json"))},
    )


def records_of_run(instance: dg.DagsterInstance, run_id: str) -> list[StageRecord]:
    """The records that the stages of a run have left, in the order of their writing."""
    logs = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    events = (entry.dagster_event for entry in logs if entry.dagster_event)
    found = (_record(event.event_specific_data.asset_observation) for event in events)  # type: ignore[union-attr]
    return [record for record in found if record is not None]


class RecordReader:
    """Reads every record of every run once, oldest first; later calls return what is new."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        def fetch(after: int) -> Sequence[dg.EventLogRecord]:
            # Without an asset: what was wiped of one while the clock was ahead would hide its later records.
            wanted = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_OBSERVATION, after_cursor=after)
            return instance.event_log_storage.get_event_records(wanted, limit=PAGE, ascending=True)

        self._events = EventReader(fetch)

    def new_records(self) -> Iterator[tuple[str, StageRecord]]:
        """(run id, record) of each record since the last call."""
        for event in self._events.new_events():
            record = _record(event.asset_observation)
            if record is not None:
                yield event.run_id, record


class RunEndReader:
    """Reads the end of every run once; later calls return what is new."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        def fetch(kind: RunEnd, after: int) -> Sequence[dg.EventLogRecord]:
            wanted = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after)
            return instance.fetch_run_status_changes(wanted, limit=PAGE, ascending=True).records

        self._events = {kind: EventReader(functools.partial(fetch, kind)) for kind in ENDED}
        self._ended: set[int] = set()

    def new_ends(self) -> Iterator[str]:
        """The status of each run that has ended since the last call, in words."""
        for kind, events in self._events.items():
            for event in events.new_events():
                run = hash(event.run_id)
                if run not in self._ended:
                    self._ended.add(run)
                    yield ENDED[kind]


class EventReader:
    """Reads each event of a kind once, also after events were deleted from under it.

    SQLite gives the ids of deleted events out again, so an id alone does not say where the reading has got to. Each
    call first looks whether the last event is still the one that it was. If it is not, runs were deleted, the log was
    wiped, or it is another instance's: then the log is read from its start, and only what was never seen comes out.

    Args:
        fetch: Called for the events above a storage id, oldest first, at most ``PAGE``.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._last: dg.EventLogRecord | None = None
        # A hash each: an exporter lives for months, and an event may be large.
        self._seen: set[int] = set()

    def new_events(self) -> Iterator[dg.EventLogRecord]:
        """The events since the last call, in the order of the log."""
        page = self._first_page()
        while page:
            for event in page:
                identity = _identity(event)
                if identity not in self._seen:
                    self._seen.add(identity)
                    yield event
            self._last = page[-1]
            page = self._fetch(self._last.storage_id) if len(page) == PAGE else []

    def _first_page(self) -> Sequence[dg.EventLogRecord]:
        if self._last is None:
            return self._fetch(0)
        page = self._fetch(max(0, self._last.storage_id - 1 - OVERLAP))
        if any(is_same(event, self._last) for event in page):
            return page
        self._last = None
        return self._fetch(0)


def is_same(event: dg.EventLogRecord, other: dg.EventLogRecord) -> bool:
    """Whether two events are one, and not two that were given the same id."""
    return event.storage_id == other.storage_id and _identity(event) == _identity(other)


def _identity(event: dg.EventLogRecord) -> int:
    """Tells an event from every other one, whatever id the log gives it."""
    return hash((event.run_id, event.timestamp, event.event_log_entry.step_key))


def _record(observation: dg.AssetObservation | None) -> StageRecord | None:
    value = observation.metadata.get(RECORD_METADATA_KEY) if observation else None
    return StageRecord.model_validate(value.value) if value is not None else None
