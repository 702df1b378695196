"""What a run does about a collection that another run has changed meanwhile: it leaves the rest to it and says so.

The versions that a step has read or made stand in its materialization, so a step or check in any process knows what the
earlier ones of its run have seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import dagster as dg

from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.tables.history import VersionTracker

VERSIONS_KEY = "table_versions"
SUPERSEDED_KEY = "superseded"
_EVENTS = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}


def version_tracker(pipeline: Pipeline, instance: dg.DagsterInstance, run_id: str) -> VersionTracker:
    """What the steps of a run have read or made so far, in this process and before it started."""
    if run_id not in pipeline.version_trackers:
        pipeline.version_trackers[run_id] = tracker = VersionTracker()
        for collection, metadata in _left_by(instance, run_id):
            if VERSIONS_KEY in metadata:
                tracker.merge(collection, cast("dict[str, int]", metadata[VERSIONS_KEY].value))
            if SUPERSEDED_KEY in metadata:
                tracker.left_to_others.setdefault(collection, str(metadata[SUPERSEDED_KEY].value))
    return pipeline.version_trackers[run_id]


def leave_to_others(context: dg.AssetExecutionContext, pipeline: Pipeline, collection: str, words: str) -> None:
    """Says, in the log and as an event, that a step has left a collection to another run."""
    version_tracker(pipeline, context.instance, context.run.run_id).left_to_others.setdefault(collection, words)
    context.log.warning(one_line(f"collection '{collection}': {words}"))
    context.log_event(dg.AssetObservation(context.asset_key, partition=collection, metadata={SUPERSEDED_KEY: words}))


def _left_by(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str, Mapping[str, dg.MetadataValue[Any]]]]:
    """Collection and metadata of the events about one collection that a run has left."""
    events = (entry.dagster_event for entry in instance.all_logs(run_id, of_type=_EVENTS))
    data = (event.event_specific_data for event in events if event is not None)
    about = (getattr(each, "materialization", None) or getattr(each, "asset_observation", None) for each in data)
    return [(each.partition, each.metadata) for each in about if each is not None and each.partition is not None]
