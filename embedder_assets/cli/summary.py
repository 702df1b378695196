"""What ``embedder summary`` shows of a run's manifest, and what does not fit the schema of manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from embedder_assets.errors import TelemetryError
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.file import find_manifest, problems_of_file, read_manifest_file
from embedder_assets.telemetry.manifest.schema import Manifest, SparseRun, StageRun
from embedder_assets.telemetry.stage_record import StageName
from embedder_assets.terminal import say, say_lines, say_table, styled

COLOURS = {"succeeded": "green", "failed": "red", "unknown": "yellow"}
COLUMNS = ("stage", "status", "items", "p50 ms", "p95 ms", "p99 ms", "coverage", "fallback", "samples scraped")
SHOWN = 10


def show_manifest(manifest: Manifest) -> None:
    """A run on one screen; the footer last."""
    status = styled(manifest.status, COLOURS[manifest.status])
    say(f"Run {manifest.run_id}: ", status, f", {manifest.generated_at}")
    say(f"{manifest.chunk_count} chunks of {', '.join(manifest.collections) or 'no collection'}")
    for name, toggle in manifest.feature_toggles:
        if toggle is not None:
            say(f"{name}: {str(toggle.value).lower()} ({toggle.provenance})")
    say_table(COLUMNS, _stages(manifest))
    for line in [*_reasons(manifest), *_memory(manifest), *_leases(manifest), *_mitigations(manifest)]:
        say(line)
    for warning in manifest.warnings:
        say(styled("warning", "yellow"), f" {warning}")
    say_lines(render_footer(manifest))


def problems_of_manifests(home: Path, wanted: Iterable[str | None]) -> Iterator[tuple[str, list[str]]]:
    """Each manifest that was named, with what is wrong with it; an empty list means that it fits."""
    for name in wanted:
        try:
            path = find_manifest(home, name)
            yield str(path), problems_of_file(path)
        except TelemetryError as error:
            yield error.thing, [f"expected {error.expected}, got {error.got}. {error.remedy}"]


def manifest_named(home: Path, wanted: str | None) -> Manifest:
    """The manifest of a run id or path, or the newest."""
    return read_manifest_file(find_manifest(home, wanted))


def _sections(manifest: Manifest) -> dict[str, StageRun | None]:
    return {"dense": manifest.dense_run, "sparse": manifest.sparse_run, "rerank": manifest.rerank_run}


def _stages(manifest: Manifest) -> Iterator[list[str]]:
    """A row for each stage that left a span or a section."""
    for stage in ASSET_OF_STAGE:
        section = _sections(manifest).get(stage)
        if section is not None or f"rag.{stage}" in manifest.telemetry.spans:
            yield _row(manifest, stage, section)


def _row(manifest: Manifest, stage: StageName, section: StageRun | None) -> list[str]:
    latency = manifest.performance_baseline.batch_latency_ms.get(stage)
    percentiles = [f"{value:.0f}" for value in (latency.p50, latency.p95, latency.p99)] if latency else ["-"] * 3
    items = ", ".join(f"{count} {outcome}" for outcome, count in section.items.items()) if section else ""
    coverage = _coverage(section)
    fallback = (section.fallback_reason or "yes") if section and section.fallback_used else "-"
    metric = manifest.telemetry.metrics.get(stage)
    return [
        stage,
        section.status if section else "ran",
        items or "-",
        *percentiles,
        "-" if coverage is None else f"{coverage:.3f}",
        fallback,
        str(metric.samples) if metric else "-",
    ]


def _coverage(section: StageRun | None) -> float | None:
    """The smallest of all collections; v4.0 has only that one."""
    if section is not None and section.coverage:
        return min(section.coverage.values())
    return section.coverage_ratio if isinstance(section, SparseRun) else None


def _reasons(manifest: Manifest) -> Iterator[str]:
    for stage, section in _sections(manifest).items():
        if section is not None and section.reason:
            yield f"{stage} {section.status}: {section.reason}"


def _memory(manifest: Manifest) -> Iterator[str]:
    gpu, host = manifest.performance_baseline.gpu, manifest.performance_baseline.host
    limit = "" if gpu.soft_limit_gb is None else f" (soft limit {gpu.soft_limit_gb:g} GB per device)"
    devices = ", ".join(f"{device} {peak:g} GB" for device, peak in gpu.devices.items())
    if devices or gpu.peak_memory_used_gb is not None:
        yield f"GPU memory: {devices or f'{gpu.peak_memory_used_gb:g} GB'}{limit}"
    if host is not None:
        yield f"Host memory: {host.peak_memory_used_gb:g} GB"


def _leases(manifest: Manifest) -> Iterator[str]:
    """How long each stage waited for the accelerator."""
    for event in manifest.lease_events:
        if event.event == "acquired":
            models = f", with {', '.join(event.models)}" if event.models else ""
            yield f"Lease: {event.stage} waited {event.waited_s:.1f} s ({event.policy}{models})"


def _mitigations(manifest: Manifest) -> Iterator[str]:
    for entry in manifest.mitigations[:SHOWN]:
        failed = f", {len(entry.items)} chunks" if entry.items else ""
        size = f" to {entry.batch_size} texts per request" if entry.batch_size else ""
        where = f" {entry.endpoint} at {entry.at}" if entry.endpoint else ""
        yield f"Mitigation: {entry.stage}: {entry.model} {entry.kind}{where}{size} ({entry.reason}{failed})"
    if len(manifest.mitigations) > SHOWN:
        yield f"… and {len(manifest.mitigations) - SHOWN} more mitigations; `--json` has all"
