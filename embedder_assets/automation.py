"""Jobs. Schedules and sensors will stand here too."""

from __future__ import annotations

import dagster as dg

rag_tables = dg.define_asset_job(
    "rag_tables",
    selection=dg.AssetSelection.all(),
    description="Brings every table of some collections up to date, from documents to the summary.",
)
