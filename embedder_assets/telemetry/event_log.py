"""Stage records in the Dagster event log: durable, shared by all hosts, and written even when a stage fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from embedder_assets.plain import inert_markdown, one_line
from embedder_assets.telemetry.record import StageName, StageRecord

RECORD_METADATA_KEY = "stage_record"
ASSET_OF_STAGE: dict[StageName, str] = {
    "chunk": "chunks",
    "dense": "dense_embeddings",
    "sparse": "sparse_embeddings",
    "fuse": "fused_candidates",
    "rerank": "reranked_candidates",
    "export": "exports",
}
ENDED = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "canceled",
}
PAGE = 500
# Runs that end in the same instant may become visible one after the other.
OVERLAP = timedelta(seconds=30)


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


class RecordFollower:
    """Reads every record of every run once, oldest first; later calls return what is new."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursors: dict[StageName, str | None] = dict.fromkeys(ASSET_OF_STAGE)

    def new_records(self) -> Iterator[tuple[str, StageRecord]]:
        """(run id, record) of each record since the last call."""
        for stage, asset in ASSET_OF_STAGE.items():
            more = True
            while more:
                page = self._instance.fetch_observations(
                    dg.AssetKey(asset), limit=PAGE, cursor=self._cursors[stage], ascending=True
                )
                self._cursors[stage], more = page.cursor, page.has_more
                found = ((item.run_id, _record(item.asset_observation)) for item in page.records)
                yield from ((run_id, record) for run_id, record in found if record is not None)


class RunFollower:
    """Reads the end of every run once; later calls return what is new."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._until: datetime | None = None
        self._recent: dict[str, datetime] = {}

    def new_ends(self) -> Iterator[str]:
        """The status of each run that has ended since the last call, in words."""
        filters = dg.RunsFilter(statuses=list(ENDED), updated_after=self._until)
        for run in self._instance.get_run_records(filters, order_by="update_timestamp", ascending=True):
            if run.dagster_run.run_id not in self._recent:
                self._recent[run.dagster_run.run_id] = run.update_timestamp
                yield ENDED[run.dagster_run.status]
        if self._recent:
            self._until = max(self._recent.values()).astimezone(UTC) - OVERLAP
            self._recent = {name: at for name, at in self._recent.items() if at.astimezone(UTC) >= self._until}


def _record(observation: dg.AssetObservation | None) -> StageRecord | None:
    value = observation.metadata.get(RECORD_METADATA_KEY) if observation else None
    return StageRecord.model_validate(value.value) if value is not None else None
