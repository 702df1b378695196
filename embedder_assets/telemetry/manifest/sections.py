"""The sections of the manifest, made from the stage records of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np

from embedder_assets.settings import Settings
from embedder_assets.telemetry.emission import EmissionStatus
from embedder_assets.telemetry.exporter.server import METRICS_PATH, base_url
from embedder_assets.telemetry.manifest.schema import (
    FeatureToggles,
    GpuBaseline,
    HostBaseline,
    LatencyPercentiles,
    LeaseEventEntry,
    MitigationEntry,
    PerformanceBaseline,
    SpanEntry,
    StageRun,
    Telemetry,
)
from embedder_assets.telemetry.manifest.schema import MetricEntry as Metric
from embedder_assets.telemetry.spans import GB, SpanReport, span_attributes
from embedder_assets.telemetry.stage_record import StageName, StageRecord

Run = TypeVar("Run", bound=StageRun)


def feature_toggles(settings: Settings) -> FeatureToggles:
    """The toggles with the provenance of their values."""
    return FeatureToggles.model_validate({name: settings.describe(name) for name in FeatureToggles.model_fields})


def stage_section(section: type[Run], record: StageRecord | None) -> Run | None:
    """A stage's section, or None when it was off or did not run."""
    if record is None or record.status == "off":
        return None
    return section.model_validate(
        {
            "status": record.status,
            "reason": record.reason,
            **span_attributes(record),
            "models": record.models or None,
            "items": record.items,
            "batches": len(record.batch_latencies_s),
            "coverage": record.coverage or None,
            "tokenization": {
                name: {model: each.model_dump() for model, each in of.items()}
                for name, of in record.tokenization.items()
            }
            or None,
        }
    )


def telemetry_section(settings: Settings, spans: SpanReport, metrics: dict[StageName, EmissionStatus]) -> Telemetry:
    """Which spans were written, with their attributes, and whether each stage's metrics were seen in a scrape."""
    scraped = any(status.scrape in ("complete", "incomplete") for status in metrics.values())
    return Telemetry(
        spans={name: SpanEntry(status="active", attributes=found) for name, found in spans.attributes.items()},
        metrics={stage: Metric.model_validate(status.model_dump()) for stage, status in metrics.items()},
        otlp=spans.otlp,
        endpoint=f"{base_url(settings)}{METRICS_PATH}" if scraped else None,
    )


def performance_baseline(settings: Settings, records: Sequence[StageRecord]) -> PerformanceBaseline:
    """Latency percentiles per stage in milliseconds, GPU memory against the soft limit, host memory without a GPU."""
    latencies = {record.stage: _percentiles(record.batch_latencies_s) for record in records if record.batch_latencies_s}
    host = max((record.host_peak_bytes for record in records if record.host_peak_bytes is not None), default=None)
    gpu = _gpu(settings, records)
    return PerformanceBaseline(
        batch_latency_ms=latencies,
        gpu=gpu,
        host=None if host is None or gpu.devices else HostBaseline(peak_memory_used_gb=_gb(host)),
    )


def lease_entries(records: Sequence[StageRecord]) -> list[LeaseEventEntry]:
    """Every lease that was taken or given back, oldest first."""
    events = [(event.at, record.stage, event) for record in records for event in record.lease_events]
    return [
        LeaseEventEntry(stage=stage, **{**event.model_dump(), "at": _instant(at)})
        for at, stage, event in sorted(events, key=lambda item: item[0])
    ]


def mitigation_entries(records: Sequence[StageRecord]) -> list[MitigationEntry]:
    """Everything that was done about requests that were too large or got no answer, oldest first."""
    events = [(event.at, record.stage, event) for record in records for event in record.mitigations]
    return [
        MitigationEntry(stage=stage, **{**event.model_dump(), "at": _instant(at)})
        for at, stage, event in sorted(events, key=lambda item: item[0])
    ]


def _percentiles(latencies_s: list[float]) -> LatencyPercentiles:
    p50, p95, p99 = (round(float(value) * 1000, 3) for value in np.percentile(latencies_s, [50, 95, 99]))
    return LatencyPercentiles(p50=p50, p95=p95, p99=p99)


def _gpu(settings: Settings, records: Sequence[StageRecord]) -> GpuBaseline:
    peaks: dict[str, int] = {}
    stages: dict[StageName, dict[str, int]] = {}
    for record in records:
        of_stage = stages.setdefault(record.stage, {}) if record.gpu_peak_bytes else {}
        for device, used in record.gpu_peak_bytes.items():
            peaks[device] = max(used, peaks.get(device, 0))
            of_stage[device] = max(used, of_stage.get(device, 0))
    limit = settings.gpu_soft_limit_gb
    above = sorted(device for device, used in peaks.items() if used / GB > limit)
    return GpuBaseline(
        peak_memory_used_gb=_gb(max(peaks.values())) if peaks else None,
        soft_limit_gb=limit,
        soft_limit_exceeded=bool(above),
        soft_limit_devices=above,
        status="no_gpu" if not peaks else "exceeded_soft_limit" if above else "within_limit",
        devices={device: _gb(used) for device, used in peaks.items()},
        stages={stage: {device: _gb(used) for device, used in of.items()} for stage, of in stages.items()},
    )


def _gb(size_bytes: int) -> float:
    return round(size_bytes / GB, 3)


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
