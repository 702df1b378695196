"""``table_maintenance``: the tables compacted, and their history trimmed to what the settings keep."""

import dagster as dg

from embedder_assets.assets.support.materialize import OWNERS
from embedder_assets.retrieval.consistent_view import needed_versions
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.maintenance import maintain


# The policy of the other assets: a range of collections may be materialized with `*` selected.
@dg.asset(
    group_name="maintenance",
    kinds={"delta"},
    tags={"stage": "maintenance"},
    owners=OWNERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def table_maintenance(pipeline: dg.ResourceParam[Pipeline]) -> dg.MaterializeResult[None]:
    """Few files, a short log, and earlier versions for EMBEDDER_HISTORY_DAYS; belongs to no collection."""
    store = pipeline.store
    done = maintain(store, pipeline.settings.history_days, needed=lambda: needed_versions(store))
    return dg.MaterializeResult(
        metadata={
            "files_before": sum(each.files_before for each in done),
            "files_after": sum(each.files_after for each in done),
            "files_removed": sum(each.files_removed for each in done),
            "bytes_removed": sum(each.bytes_removed or 0 for each in done),
            "tables": dg.MetadataValue.json({each.table: each.files_after for each in done}),
        }
    )
