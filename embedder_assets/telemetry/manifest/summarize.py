"""The end of a run: makes spans from its records, verifies that its metrics were scraped, writes the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder_assets.settings import Settings
from embedder_assets.telemetry.emission import verify_emission
from embedder_assets.telemetry.manifest.file import write_manifest
from embedder_assets.telemetry.manifest.json_schema import validating
from embedder_assets.telemetry.manifest.schema import (
    LEGACY_VERSION,
    SCHEMA_VERSION,
    Compatibility,
    DenseRun,
    Manifest,
    RerankRun,
    SparseRun,
)
from embedder_assets.telemetry.manifest.sections import (
    feature_toggles,
    lease_entries,
    mitigation_entries,
    performance_baseline,
    stage_section,
    telemetry_section,
)
from embedder_assets.telemetry.otlp import OtlpReport
from embedder_assets.telemetry.spans import emit_spans
from embedder_assets.telemetry.stage_record import StageName, StageRecord

STOOD_IN: dict[StageName, str] = {
    "sparse": "lexical vectors stand in for the sparse model",
    "fuse": "lexical queries stand in for the sparse model",
    "rerank": "the fused order stands in for the rerank model",
}


@dataclass(frozen=True)
class RunFacts:
    """What the records do not say about a run."""

    run_id: str
    succeeded: bool
    collections: list[str]
    chunk_count: int
    near_duplicates: dict[str, int] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    ranking_weights: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def stage_warnings(records: Sequence[StageRecord]) -> list[str]:
    """A sentence for each stage in which something stood in for a model, and what stages have noted."""
    fallbacks = [
        f"{record.stage}: {STOOD_IN[record.stage]} ({record.fallback_reason}): {record.reason}"
        for record in records
        if record.fallback_used
    ]
    return [*fallbacks, *(f"{record.stage}: {note}" for record in records for note in record.notes)]


def summarize_run(settings: Settings, records: Sequence[StageRecord], facts: RunFacts) -> tuple[Manifest, Path]:
    """Makes the spans, verifies that the metrics were scraped, writes the manifest, and returns it with its path.

    Raises:
        TelemetryError: The manifest does not fit its schema.
    """
    by_stage = {record.stage: record for record in records}
    folder = settings.home / "runs" / facts.run_id
    folder.mkdir(parents=True, exist_ok=True)
    spans = emit_spans(facts.run_id, records, folder / "spans.jsonl")
    emission = verify_emission(settings, facts.run_id, records)
    with validating(f"the manifest of run {facts.run_id}"):
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            run_id=facts.run_id,
            generated_at=datetime.now(UTC).isoformat(),
            status="succeeded" if facts.succeeded else "failed",
            collections=facts.collections,
            chunk_count=facts.chunk_count,
            near_duplicates=facts.near_duplicates or None,
            feature_toggles=feature_toggles(settings),
            dense_run=stage_section(DenseRun, by_stage.get("dense")),
            sparse_run=stage_section(SparseRun, by_stage.get("sparse")),
            rerank_run=stage_section(RerankRun, by_stage.get("rerank")),
            evaluation=facts.evaluation or None,
            ranking_weights=facts.ranking_weights or None,
            documents=facts.documents or None,
            exports=facts.exports,
            telemetry=telemetry_section(settings, spans, emission),
            performance_baseline=performance_baseline(settings, records),
            lease_events=lease_entries(records),
            mitigations=mitigation_entries(records),
            compatibility=Compatibility(current=SCHEMA_VERSION, legacy=[LEGACY_VERSION]),
            warnings=[*facts.warnings, *_otlp_warning(spans.otlp)],
        )
    return manifest, write_manifest(manifest, settings.home)


def _otlp_warning(report: OtlpReport) -> list[str]:
    return [f"the collector did not take the spans ({report.reason})"] if report.status == "failed" else []
