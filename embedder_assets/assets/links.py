"""Where else to look at a run: its trace, its manifest, the dashboard."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from embedder_assets.settings import Settings
from embedder_assets.telemetry.stage_record import trace_id_of


def run_links(settings: Settings, run_id: str, manifest: Path) -> dict[str, dg.MetadataValue]:
    """What Dagster shows as links in the metadata of the summary; addresses only where a setting has them."""
    trace_id = trace_id_of(run_id)
    # Not format(): the rest of the address may have braces of its own.
    return {
        **{
            name: dg.MetadataValue.url(url.shareable.replace("{trace_id}", trace_id))
            for name, url in settings.links.items()
        },
        "trace_id": dg.MetadataValue.text(trace_id),
        "manifest": dg.MetadataValue.path(manifest),
    }


def tag_run(instance: dg.DagsterInstance, run_id: str, manifest: Path) -> None:
    """Tags by which a run is found in the list of runs, and which its own page shows."""
    instance.add_run_tags(run_id, {"embedder/trace_id": trace_id_of(run_id), "embedder/manifest": str(manifest)})
