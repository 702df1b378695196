"""The manifest of a run, ``processing_summary.json``, schema v4.1."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from embedder_assets.settings import Settings
from embedder_assets.telemetry.endpoint import EmissionStatus
from embedder_assets.telemetry.record import StageName, StageRecord
from embedder_assets.telemetry.spans import GB, span_attributes

SCHEMA_VERSION = "v4.1"
FILE_NAME = "processing_summary.json"
TOGGLES = ("enable_sparse", "enable_rerank", "metrics_enabled")


class Manifest(BaseModel):
    """What one run did. A section of a stage that was off is absent from the file."""

    model_config = ConfigDict(extra="forbid")

    schema_version: str = SCHEMA_VERSION
    run_id: str
    generated_at: str = Field(description="UTC, ISO 8601.")
    status: str = Field(description="succeeded, or failed.")
    collections: list[str]
    chunk_count: int
    feature_toggles: dict[str, dict[str, Any]] = Field(description="Value and provenance of each toggle.")
    dense_run: dict[str, Any] | None = None
    sparse_run: dict[str, Any] | None = None
    rerank_run: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    exports: dict[str, Any] = Field(default_factory=dict)
    telemetry: dict[str, Any]
    performance_baseline: dict[str, Any]
    lease_events: list[dict[str, Any]] = Field(default_factory=list)
    mitigations: list[dict[str, Any]] = Field(default_factory=list)
    compatibility: dict[str, Any] = Field(default_factory=lambda: {"current": SCHEMA_VERSION, "legacy": ["v4.0"]})
    warnings: list[str] = Field(default_factory=list)


def stage_section(record: StageRecord | None) -> dict[str, Any] | None:
    """A stage's section, or None when it was off or did not run."""
    if record is None or record.status == "off":
        return None
    return {
        "status": record.status,
        **({"reason": record.reason} if record.reason else {}),
        **span_attributes(record),
        **({"models": record.models} if record.models else {}),
        "items": record.items,
        "batches": len(record.batch_latencies_s),
        **({"coverage": record.coverage} if record.coverage else {}),
    }


def performance_baseline(settings: Settings, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Latency percentiles a stage in milliseconds, and the GPU memory against the soft limit."""
    latencies = {record.stage: _percentiles(record.batch_latencies_s) for record in records if record.batch_latencies_s}
    return {"batch_latency_ms": latencies, "gpu": _gpu(settings, records)}


def telemetry_section(spans: dict[str, dict[str, Any]], metrics: dict[StageName, EmissionStatus]) -> dict[str, Any]:
    """Which spans were written, with their attributes, and whether each stage's metrics were seen in a scrape."""
    return {
        "spans": {name: {"status": "active", "attributes": attributes} for name, attributes in spans.items()},
        "metrics": {stage: status.model_dump(exclude_none=True) for stage, status in metrics.items()},
    }


def write_manifest(manifest: Manifest, home: Path) -> Path:
    """Writes the manifest of a run and the copy ``runs/latest.json``; returns the former's path."""
    path = home / "runs" / manifest.run_id / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(manifest.model_dump(exclude_none=True), indent=2, ensure_ascii=False) + "\n"
    for target in (path, home / "runs" / "latest.json"):
        unfinished = target.with_suffix(f".{os.getpid()}.unfinished")
        unfinished.write_text(content, "utf-8")
        unfinished.replace(target)
    return path


def _percentiles(latencies_s: list[float]) -> dict[str, float]:
    values = np.percentile(latencies_s, [50, 95, 99]) * 1000
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}


def _gpu(settings: Settings, records: Sequence[StageRecord]) -> dict[str, Any]:
    peaks: dict[str, int] = {}
    for record in records:
        for device, used in record.gpu_peak_bytes.items():
            peaks[device] = max(used, peaks.get(device, 0))
    limit = settings.gpu_soft_limit_gb
    above = sorted(device for device, used in peaks.items() if used / GB > limit)
    status = "exceeded_soft_limit" if above else "within_limit"
    return {
        "peak_memory_used_gb": round(max(peaks.values()) / GB, 3) if peaks else None,
        "soft_limit_gb": limit,
        "soft_limit_exceeded": bool(above),
        "soft_limit_devices": above,
        "status": status if peaks else "no_gpu",
    }
