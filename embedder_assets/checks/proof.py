"""The rules of a run's telemetry, free of Dagster: each compares two things that a run has left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedder_assets.checks.finding import Finding, error_or_none
from embedder_assets.settings import Settings
from embedder_assets.telemetry import runbook
from embedder_assets.telemetry.emission import verify_emission
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.schema import Manifest
from embedder_assets.telemetry.spans import REQUEST_SPAN, RUN_SPAN
from embedder_assets.telemetry.stage_record import StageName, StageRecord, run_span_id, trace_id_of

SECTIONS: dict[StageName, str] = {"dense": "dense_run", "sparse": "sparse_run", "rerank": "rerank_run"}
TOGGLES: dict[StageName, str] = {"sparse": "enable_sparse", "rerank": "enable_rerank"}
LEASED: tuple[StageName, ...] = ("dense", "sparse", "fuse", "rerank")
ATTRIBUTES = ("latency_ms", "batch_size", "fallback_used")
OWN_ATTRIBUTES: dict[StageName, tuple[str, ...]] = {
    "dense": ("models_executed", "chunks_per_second"),
    "sparse": ("coverage_ratio",),
    "rerank": ("candidate_count",),
    "export": ("file_count", "total_size_mb"),
}


@dataclass(frozen=True)
class Proof:
    """What a run has left behind.

    Attributes:
        settings: Of the process that checks.
        run_id: Of the run.
        records: The last record of each stage, from the event log.
        spans: The lines of ``spans.jsonl``.
        manifest: ``processing_summary.json`` as it lies on disk.
        footer: As the run has shown it.
    """

    settings: Settings
    run_id: str
    records: dict[StageName, StageRecord]
    spans: list[dict[str, Any]]
    manifest: Manifest
    footer: str

    @property
    def ran(self) -> dict[StageName, StageRecord]:
        """The records of the stages that were not off."""
        return {stage: record for stage, record in self.records.items() if record.status != "off"}


ProofRule = Callable[[Proof], Finding | None]


def spans_follow_stages(proof: Proof) -> Finding | None:
    """There is a span for each stage that ran, with its attributes, in one trace of the run's id, and no other."""
    stages = {f"rag.{stage}": stage for stage in proof.ran}
    own = [span for span in proof.spans if span["name"] not in (RUN_SPAN, REQUEST_SPAN)]
    found = sorted(span["name"] for span in own)
    if found != sorted(stages):
        return Finding("error", f"the stages that ran are {_listed(stages)}, the spans are {_listed(found)}")
    if any(span["context"]["trace_id"] != f"0x{trace_id_of(proof.run_id)}" for span in proof.spans):
        return Finding("error", f"a span is not of trace {trace_id_of(proof.run_id)}")
    root = f"0x{run_span_id(proof.run_id)}"
    for span in own:
        if span["parent_id"] != root:
            return Finding("error", f"{span['name']} is not a child of {RUN_SPAN}")
        wanted = (*ATTRIBUTES, *_own_attributes(proof.ran[stages[span["name"]]]))
        missing = [name for name in wanted if name not in span["attributes"]]
        if missing:
            return Finding("error", f"{span['name']} lacks {_listed(missing)}")
    return None


def metrics_were_scraped(proof: Proof) -> Finding | None:
    """A scrape of the metrics endpoint shows exactly this run's samples, and the manifest claims nothing more."""
    seen = verify_emission(proof.settings, proof.run_id, proof.records.values())
    missing = [f"rag.{stage}: {status.reason}" for stage, status in seen.items() if status.scrape == "incomplete"]
    claimed = proof.manifest.telemetry.metrics
    for stage, status in seen.items():
        if claimed[stage].status == "emitted" and status.scrape == "not_expected":
            missing.append(f"rag.{stage}: the manifest says emitted, and {status.reason}")
    if missing:
        return Finding("error", "; ".join(missing))
    unreachable = next((status.reason for status in seen.values() if status.scrape == "unreachable"), None)
    unreachable = unreachable or next(
        (entry.reason for entry in claimed.values() if entry.scrape == "unreachable"), None
    )
    if unreachable is not None:
        return Finding("warning", f"no scrape has shown this run's samples: {unreachable}")
    if any(status.scrape == "complete" for status in seen.values()):
        return None
    return Finding("note", "no stage had samples to show")


def gpu_within_soft_limit(proof: Proof) -> Finding | None:
    """No device went above EMBEDDER_GPU_SOFT_LIMIT_GB in any stage."""
    gpu = proof.manifest.performance_baseline.gpu
    if gpu.status == "no_gpu":
        return Finding("note", "no GPU was seen")
    if not gpu.soft_limit_exceeded:
        return None
    return Finding(
        "warning",
        f"{gpu.peak_memory_used_gb} GB on {_listed(gpu.soft_limit_devices)}, above the soft limit of "
        f"{gpu.soft_limit_gb} GB. Set EMBEDDER_GPU_LEASE_POLICY=exclusive or a smaller EMBEDDER_REQUEST_BATCH_SIZE.",
    )


def manifest_follows_toggles(proof: Proof) -> Finding | None:
    """The manifest has a section for each stage that ran and for no other, and says where a toggle was set."""
    for stage, section in SECTIONS.items():
        there = getattr(proof.manifest, section) is not None
        if there != (stage in proof.ran):
            return Finding("error", f"'{section}' is {'there' if there else 'absent'}, the stage {_fate(proof, stage)}")
    for stage, toggle in TOGGLES.items():
        entry = getattr(proof.manifest.feature_toggles, toggle).model_dump()
        here = proof.settings.describe(toggle)
        if entry != here:
            return Finding("error", f"the manifest has {toggle} {entry}, the run's settings {here}")
        record, reason = proof.records.get(stage), f"disabled via {entry['provenance']}"
        if record is not None and (record.status == "off") == entry["value"]:
            return Finding("error", f"{toggle} is {str(entry['value']).lower()}, the stage {_fate(proof, stage)}")
        given = proof.manifest.telemetry.metrics[stage].reason
        if not entry["value"] and record is not None and given != reason:
            return Finding("error", f"the metrics of rag.{stage} say '{given}', expected '{reason}'")
    return None


def footer_says_what_the_manifest_says(proof: Proof) -> Finding | None:
    """The footer that was shown is the one that the manifest on disk gives."""
    given = render_footer(proof.manifest)
    if proof.footer == given:
        return None
    differing = [line.strip() for line in proof.footer.splitlines() if line not in given.splitlines()]
    return Finding("error", f"shown, and not in the manifest: {'; '.join(differing) or 'lines in another order'}")


def leases_are_complete(proof: Proof) -> Finding | None:
    """Each stage that ran on models took a lease on the accelerator and gave it back."""
    wrong = [
        f"rag.{stage}: {_listed(event.event for event in record.lease_events)}"
        for stage, record in proof.ran.items()
        if stage in LEASED and [event.event for event in record.lease_events] != ["acquired", "released"]
    ]
    return Finding("error", f"expected acquired, released: {'; '.join(wrong)}") if wrong else None


def telemetry_is_documented(_: Proof) -> Finding | None:
    """The runbook describes every metric and span of the code, and no other."""
    try:
        return error_or_none(runbook.undocumented_names())
    except FileNotFoundError:
        return Finding("note", "the docs are not installed with the code")


def _own_attributes(record: StageRecord) -> tuple[str, ...]:
    return OWN_ATTRIBUTES.get(record.stage, ()) if record.status == "ok" and record.collections else ()


def _fate(proof: Proof, stage: StageName) -> str:
    record = proof.records.get(stage)
    return "did not run" if record is None else "was off" if record.status == "off" else "ran"


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
