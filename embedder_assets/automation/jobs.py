"""The jobs, and whether sensors and schedules start them by themselves (``EMBEDDER_AUTOMATION``)."""

from __future__ import annotations

import dagster as dg

from embedder_assets.assets.table_maintenance import table_maintenance
from embedder_assets.instance.dagster_private import RETRY_STRATEGY_TAG
from embedder_assets.settings import settings_at_load

LONGEST_INTERVAL_S = 30


def sensor_interval_s(settle_s: float) -> int:
    """Whole seconds between two looks of a sensor: no more than what it waits for files to settle, if it waits."""
    return int(max(1, min(LONGEST_INTERVAL_S, settle_s or LONGEST_INTERVAL_S)))


_AT_LOAD = settings_at_load()
INTERVAL_S = sensor_interval_s(_AT_LOAD.settle_s)
SENSORS = dg.DefaultSensorStatus.RUNNING if _AT_LOAD.automation else dg.DefaultSensorStatus.STOPPED
SCHEDULES = dg.DefaultScheduleStatus.RUNNING if _AT_LOAD.automation else dg.DefaultScheduleStatus.STOPPED

_MAINTENANCE = dg.AssetSelection.assets(table_maintenance)
MAIN = dg.AssetSelection.all() - _MAINTENANCE
# A retry runs all stages again, which is quick where the work is done, so that its manifest covers all of them.
RETRY_ALL_STEPS = {RETRY_STRATEGY_TAG: "ALL_STEPS"}


def main_assets(repository: dg.RepositoryDefinition | None) -> list[dg.AssetKey]:
    """What a request for the main job names: or a table that is off in its run would look as if it had to follow."""
    return sorted(MAIN.resolve(repository.asset_graph)) if repository else []


rag_tables = dg.define_asset_job(
    "rag_tables",
    selection=MAIN,
    tags=RETRY_ALL_STEPS,
    description="Updates every table of some collections, from documents to the summary.",
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=_MAINTENANCE,
    tags=RETRY_ALL_STEPS,
    description="Compacts the tables and forgets versions that are older than EMBEDDER_HISTORY_DAYS.",
)
