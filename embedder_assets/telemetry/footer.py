"""The footer of a run: one line per stage that has metrics, and one for the GPU memory."""

from __future__ import annotations

from embedder_assets.sanitize import safe_line
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.manifest.schema import Manifest

TITLE = "Metrics emission summary:"


def render_footer(manifest: Manifest) -> str:
    """The footer, from the manifest alone, so that the two cannot disagree."""
    lines = [TITLE]
    for stage in LATENCY_METRICS:
        entry = manifest.telemetry.metrics[stage]
        why = entry.metric if entry.status == "emitted" else entry.reason
        lines.append(f"  rag.{stage}: {entry.status} ({safe_line(str(why))})")
    lines.append(f"  gpu_soft_limit: {manifest.performance_baseline.gpu.status}")
    return "\n".join(lines)
