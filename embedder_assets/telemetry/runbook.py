"""The runbook against the code: every metric and span is described there, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry

from embedder_assets.settings import PROJECT_ROOT
from embedder_assets.telemetry.exporter.live_state import GAUGES
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from embedder_assets.telemetry.spans import REQUEST_SPAN, RUN_SPAN
from embedder_assets.telemetry.stage_record import StageName

RUNBOOK = PROJECT_ROOT / "docs" / "telemetry" / "rerank_sparse_signals.md"
# What Prometheus appends to a histogram's name.
SERIES = re.compile(r"_(bucket|sum|count)$")
NAME = re.compile(r"`(rag[._][a-z0-9_.]*[a-z0-9])")


def names_in_code() -> set[str]:
    """Every metric, as it is scraped, and every span."""
    families = StageMetrics(CollectorRegistry()).registry.collect()
    metrics = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    metrics |= GAUGES.keys()
    return metrics | {f"rag.{stage}" for stage in get_args(StageName)} | {RUN_SPAN, REQUEST_SPAN}


def names_in(text: str, others: Iterable[str] = ("rag_tables",)) -> set[str]:
    """Every metric and span that a text names in code quotes.

    Args:
        text: Markdown.
        others: Names of something else that begin alike: the job.
    """
    return {SERIES.sub("", name) for name in NAME.findall(text)} - set(others)


def disagreement(runbook: Path = RUNBOOK) -> str | None:
    """What the runbook lacks or makes up, or None.

    Raises:
        FileNotFoundError: The docs are not extra the code, as in an installed wheel.
    """
    code, docs = names_in_code(), names_in(runbook.read_text("utf-8"))
    missing, made_up = sorted(code - docs), sorted(docs - code)
    parts = [
        *([f"{runbook.name} does not describe {', '.join(missing)}"] if missing else []),
        *([f"{runbook.name} describes {', '.join(made_up)}, which no code makes"] if made_up else []),
    ]
    return "; ".join(parts) or None
