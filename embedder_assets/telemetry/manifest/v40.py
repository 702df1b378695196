"""Reads a v4.0 manifest, which an earlier system wrote, as v4.1.

v4.0 recorded what it meant to emit and emitted nothing. So nothing comes out as proved: no metric is ``emitted``, no
span ``active``, and every upgraded manifest says so in its warnings. ``docs/telemetry/README.md`` has the mapping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.manifest.schema import LEGACY_VERSION, SCHEMA_VERSION

Json = Mapping[str, Any]
NOT_RECORDED = "not recorded by v4.0"
UNPROVED = "recorded as emitted by v4.0, which proved nothing"
WARNING = "read from a v4.0 manifest: its spans and metrics were recorded, and nothing proves that they were emitted"
STAGE_STATUS = {"executed": "ok", "completed": "ok", "ok": "ok", "failed": "failed", "error": "failed"}
# Old lists whose entries do not say which stage they belong to.
EVENT_LISTS = ("lease_events", "gpu_lease_events", "mitigations", "mitigation_events")


def upgrade(old: Json, written_at: str) -> dict[str, Any]:
    """A v4.0 manifest in the form of v4.1; what is missing or of another type counts as not recorded.

    Args:
        old: The parsed file.
        written_at: When the file was written, ISO 8601, where the manifest does not say when it was made.
    """
    sections = {stage: _section(old, stage) for stage in ("dense", "sparse", "rerank")}
    telemetry = _mapping(old.get("telemetry"))
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": _text(old.get("run_id")) or "unknown",
        "generated_at": _instant(old.get("generated_at")) or written_at,
        "status": "unknown",
        "collections": _collections(old),
        "chunk_count": _count(old.get("chunk_count")) or 0,
        "feature_toggles": _toggles(_mapping(old.get("feature_toggles")), sections),
        **{f"{stage}_run": _run(stage, section) for stage, section in sections.items()},
        "exports": {},
        "telemetry": {"spans": dict(_spans(telemetry.get("spans"))), "metrics": _metrics(telemetry.get("metrics"))},
        "performance_baseline": {"batch_latency_ms": {}, "gpu": _gpu(old)},
        "lease_events": [],
        "mitigations": [],
        "compatibility": {"current": SCHEMA_VERSION, "legacy": [LEGACY_VERSION], "upgraded_from": LEGACY_VERSION},
        "warnings": [*_texts(old.get("warnings")), *_left_out(old), WARNING],
    }


def _section(old: Json, stage: str) -> Json:
    """A stage's section under either of its names, with what lay in its ``payload``; empty if the stage was off."""
    section = _mapping(old.get(f"{stage}_run")) or _mapping(old.get(f"{stage}_stage"))
    if section.get("enabled") is False:
        return {}
    return {**_mapping(section.get("metrics")), **_mapping(section.get("payload")), **section}


def _run(stage: str, section: Json) -> dict[str, Any] | None:
    if not section:
        return None
    models = section.get("models")
    names = _texts(models) or [name for name in [_text(section.get("model_name"))] if name]
    fallback = _text(section.get("fallback_reason"))
    shared = {
        **_run_status(section),
        "latency_ms": _number(section.get("latency_ms")),
        "batch_size": _count(section.get("batch_size")),
        "items": {},
        "fallback_used": bool(section.get("fallback_used") or section.get("fallback_count") or fallback),
        "fallback_reason": fallback,
        "gpu_peak_gb": _number(section.get("gpu_peak_gb")),
        "models": {str(name): str(mark) for name, mark in models.items()} if isinstance(models, Mapping) else None,
    }
    own: dict[str, dict[str, Any]] = {
        "dense": {
            "models_executed": _texts(section.get("models_executed")) or names or None,
            "chunks_per_second": _number(section.get("chunks_per_second")),
        },
        "sparse": {"coverage_ratio": _coverage(section)},
        "rerank": {
            "candidate_count": _count(section.get("candidate_count", section.get("initial_candidate_count"))),
        },
    }
    if shared["models"] is None and names:
        shared["models"] = dict.fromkeys(names, NOT_RECORDED)
    return shared | own[stage]


def _run_status(section: Json) -> dict[str, Any]:
    """v4.0 also had ``staged``, for a stage that was prepared; whether it ran is unknown."""
    word, error = _text(section.get("status")), _text(section.get("error_message"))
    if error or section.get("success") is False:
        return {"status": "failed", "reason": error or _text(section.get("reason")) or NOT_RECORDED}
    if word is None and section.get("executed") is True:
        word = "executed"
    status = STAGE_STATUS.get(word or "", "unknown")
    unclear = f"status '{word}' of v4.0" if word else f"status {NOT_RECORDED}"
    return {"status": status, "reason": _text(section.get("reason")) or (unclear if status == "unknown" else None)}


def _toggles(old: Json, sections: Mapping[str, Json]) -> dict[str, Any]:
    """Values with their provenance if v4.0 has it; a value that is missing is taken from the section's presence."""
    sources = _mapping(old.get("sources"))
    toggles = {}
    for name in ("enable_sparse", "enable_rerank", "metrics_enabled"):
        value = _mapping(old.get(name)).get("value", old.get(name))
        if not isinstance(value, bool):
            if name == "metrics_enabled":
                continue
            value = bool(sections[name.removeprefix("enable_")])
        toggles[name] = {"value": value, "provenance": _text(sources.get(name)) or NOT_RECORDED}
    return toggles


def _spans(spans: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Spans by name, from a mapping or a list; a skipped one was none."""
    listed = ((_mapping(span).get("name"), span) for span in _list(spans))
    named = spans.items() if isinstance(spans, Mapping) else listed
    for name, span in named:
        if isinstance(name, str) and _mapping(span).get("status") != "skipped":
            attributes = _mapping(_mapping(span).get("attributes"))
            kept = {key: value for key, value in attributes.items() if _is_attribute(value) and key != "query"}
            yield name, {"status": "recorded", "attributes": kept}


def _metrics(metrics: Any) -> dict[str, Any]:
    """Every metric as skipped: with the reason that v4.0 gave, or because v4.0 proved nothing."""
    entries: dict[str, Any] = {}
    for stage, metric in LATENCY_METRICS.items():
        entry = _mapping(_mapping(metrics).get(stage))
        reason = _text(entry.get("reason")) if entry.get("status") == "skipped" else None
        if entry.get("status") == "emitted":
            reason = UNPROVED
        entries[stage] = {"status": "skipped", "metric": metric, "reason": reason or NOT_RECORDED, "samples": 0}
    return entries


def _gpu(old: Json) -> dict[str, Any]:
    gpu = _mapping(_mapping(old.get("performance_baseline")).get("gpu"))
    peak, limit = _number(gpu.get("peak_memory_used_gb")), _number(gpu.get("soft_limit_gb"))
    above = bool(gpu.get("soft_limit_exceeded")) or gpu.get("status") == "exceeded_soft_limit"
    devices = {str(device): _number(_mapping(of).get("peak_memory_used_gb")) for device, of in _items(gpu, "per_gpu")}
    return {
        "peak_memory_used_gb": peak,
        "soft_limit_gb": limit,
        "soft_limit_exceeded": above,
        "soft_limit_devices": [str(device) for device in _list(gpu.get("soft_limit_devices"))],
        "status": "exceeded_soft_limit" if above else "no_gpu" if peak is None else "within_limit",
        "devices": {device: used for device, used in devices.items() if used is not None},
    }


def _left_out(old: Json) -> list[str]:
    """What is left out because v4.0 did not say which stage it belongs to."""
    counts = {name: len(old[name]) for name in EVENT_LISTS if isinstance(old.get(name), list) and old[name]}
    missing = [name for name in ("generated_at", "chunk_count") if old.get(name) is None]
    return [
        *(f"{name}: {count} entries of v4.0 are left out; they name no stage" for name, count in counts.items()),
        *(f"{name}: {NOT_RECORDED}" for name in missing),
    ]


def _collections(old: Json) -> list[str]:
    one = _text(old.get("collection")) or _text(old.get("collection_name"))
    return _texts(old.get("collections")) or ([one] if one else [])


def _coverage(section: Json) -> float | None:
    ratio = _number(_mapping(section.get("vectors")).get("coverage_ratio", section.get("coverage_ratio")))
    return ratio if ratio is None else min(ratio, 1.0)


def _items(mapping: Json, name: str) -> list[tuple[Any, Any]]:
    return list(_mapping(mapping.get(name)).items())


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _instant(value: Any) -> str | None:
    """A date and time with its offset; v4.0 meant UTC where it gave none."""
    try:
        at = datetime.fromisoformat(_text(value) or "")
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _is_attribute(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int | str) or (isinstance(value, list) and _texts(value) == value)
