"""The end of a run: emit metrics and spans from its records, and write the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder_assets.settings import Settings
from embedder_assets.telemetry.endpoint import emit
from embedder_assets.telemetry.manifest import (
    TOGGLES,
    Manifest,
    performance_baseline,
    stage_section,
    telemetry_section,
    write_manifest,
)
from embedder_assets.telemetry.record import StageRecord
from embedder_assets.telemetry.spans import emit_spans


@dataclass(frozen=True)
class RunFacts:
    """What the records do not say about a run."""

    run_id: str
    succeeded: bool
    collections: list[str]
    chunk_count: int
    evaluation: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def summarize_run(settings: Settings, records: Sequence[StageRecord], facts: RunFacts) -> tuple[Manifest, Path]:
    """Emits metrics and spans, writes the manifest, and returns it with its path."""
    by_stage = {record.stage: record for record in records}
    folder = settings.home / "runs" / facts.run_id
    folder.mkdir(parents=True, exist_ok=True)
    spans = emit_spans(facts.run_id, records, folder / "spans.jsonl")
    manifest = Manifest(
        run_id=facts.run_id,
        generated_at=datetime.now(UTC).isoformat(),
        status="succeeded" if facts.succeeded else "failed",
        collections=facts.collections,
        chunk_count=facts.chunk_count,
        feature_toggles={name: settings.describe(name) for name in TOGGLES},
        dense_run=stage_section(by_stage.get("dense")),
        sparse_run=stage_section(by_stage.get("sparse")),
        rerank_run=stage_section(by_stage.get("rerank")),
        evaluation=facts.evaluation or None,
        exports=facts.exports,
        telemetry=telemetry_section(spans, emit(settings, records)),
        performance_baseline=performance_baseline(settings, records),
        mitigations=[{"stage": record.stage, **each.model_dump()} for record in records for each in record.mitigations],
        warnings=facts.warnings,
    )
    return manifest, write_manifest(manifest, settings.home)
