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

RUNBOOK = PROJECT_ROOT / "docs" / "telemetry"
# The pages that have a row for every metric and for every span; the others only mention some.
REFERENCE = ("rerank_sparse_signals.md", "spans.md")
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


def undocumented_names(runbook: Path = RUNBOOK) -> str | None:
    """What the runbook lacks or makes up, or None.

    Args:
        runbook: The folder of its pages.

    Raises:
        FileNotFoundError: The docs are not next to the code, as in an installed wheel.
    """
    code = names_in_code()
    missing = sorted(code - _named_on(runbook / name for name in REFERENCE))
    made_up = sorted(_named_on(runbook.rglob("*.md")) - code)
    parts = [
        *([f"the runbook does not describe {', '.join(missing)}"] if missing else []),
        *([f"the runbook describes {', '.join(made_up)}, which no code makes"] if made_up else []),
    ]
    return "; ".join(parts) or None


def _named_on(pages: Iterable[Path]) -> set[str]:
    return {name for page in pages for name in names_in(page.read_text("utf-8"))}
