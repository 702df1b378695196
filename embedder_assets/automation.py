"""Jobs and schedules. Sensors will stand here too."""

from __future__ import annotations

import dagster as dg

from embedder_assets.assets.table_maintenance import table_maintenance

_MAINTENANCE = dg.AssetSelection.assets(table_maintenance)

rag_tables = dg.define_asset_job(
    "rag_tables",
    selection=dg.AssetSelection.all() - _MAINTENANCE,
    description="Brings every table of some collections up to date, from documents to the summary.",
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=_MAINTENANCE,
    description="Compacts the tables and forgets versions that are older than EMBEDDER_HISTORY_DAYS.",
)
nightly_maintenance = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Maintenance at 03:17 every night; off until it is switched on.",
)
