"""The table of ratios. A ratio is taken within a round, so that what slows the machine slows both of its sides."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.common.acceptance import outcome

Round = Mapping[str, Mapping[str, Any]]
Measure = Callable[[Mapping[str, Any]], float]

# Ours, by the precision of its dense model.
PRECISIONS = ("int8", "bf16", "fp32")
# The sides that go from the documents to a table; the others only embed chunks that are in memory.
PIPELINES = ("LlamaIndex fp32", "LlamaIndex bf16", "CocoIndex fp32", "CocoIndex bf16")
# What a pipeline at its defaults has to be exceeded by, and sentence-transformers in bf16, by our default precision.
REQUIRED_PIPELINE = {"int8": 3.5, "bf16": 4.5}
REQUIRED_EMBEDDING = {"bf16": 1.35}
BF16_PEER = "sentence-transformers bf16"


def whole(said: Mapping[str, Any]) -> float:
    """Chunks per second from the documents to the table, or of all that a side does."""
    return float(said["chunks"] / said["seconds"])


def dense_step(said: Mapping[str, Any]) -> float:
    """Chunks per second of our dense asset alone, with the start of Triton."""
    return float(said["chunks"] / said["step"]["dense_embeddings"])


def cpu(said: Mapping[str, Any]) -> float:
    """Collections a processor second."""
    return float(1 / said["cpu"])


def seconds(said: Mapping[str, Any]) -> float:
    """Collections per second: for sides that cut the same documents differently."""
    return float(1 / said["seconds"])


def ratios(rounds: Sequence[Round], ours: tuple[str, Measure], other: tuple[str, Measure]) -> list[float]:
    """Ours by the other's, of each round that has both."""
    (one, measure), (two, its_measure) = ours, other
    return [measure(each[one]) / its_measure(each[two]) for each in rounds if one in each and two in each]


def render(result: Mapping[str, Any]) -> str:
    """Two tables as Markdown, and what could not run."""
    rounds = result["rounds"]
    names = list(dict.fromkeys(name for each in rounds for name in each))
    loads = ", ".join(f"{load:.1f}" for load in result["loads"])
    lines = [
        f"{result['documents']}; {result['machine']}; load at the start of the rounds {loads}",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        "| side | chunks | seconds | processor seconds | chunks/s |",
        "|---|---|---|---|---|",
        *(_side(name, [each[name] for each in rounds if name in each]) for name in names),
        "",
        f"| ratio, median of {len(rounds)} rounds (lowest to highest) | {' | '.join(PRECISIONS)} |",
        "|---" * (len(PRECISIONS) + 1) + "|",
    ]
    precisions = [f"ours {precision}" for precision in PRECISIONS]
    for other in PIPELINES:
        cells = [_cell(ratios(rounds, (ours, seconds), (other, seconds))) for ours in precisions]
        lines.append(f"| documents to dense table / {other}, same documents | {' | '.join(cells)} |")
        cells = [_cell(ratios(rounds, (ours, cpu), (other, cpu))) for ours in precisions]
        lines.append(f"| the same by processor seconds | {' | '.join(cells)} |")
    for other in [name for name in names if name not in (*precisions, *PIPELINES) and not name.startswith("bare")]:
        cells = [_cell(ratios(rounds, (ours, dense_step), (other, whole))) for ours in precisions]
        lines.append(f"| dense asset / {other} | {' | '.join(cells)} |")
    cells = [_cell(ratios(rounds, (f"ours {p}", dense_step), (f"bare loop {p}", whole))) for p in PRECISIONS]
    lines.append(f"| dense asset / bare loop of its precision | {' | '.join(cells)} |")
    lines += [f"\n{name} does not run here: {error}" for name, error in result["errors"].items()]
    return "\n".join([*lines, "", *verdicts(rounds, result["default"])])


def verdicts(rounds: Sequence[Round], precision: str) -> list[str]:
    """What was asked for, with the precision that this machine's CPU chooses."""
    ours, lines = f"ours {precision}", []
    for other in ("LlamaIndex fp32", "CocoIndex fp32"):
        found = ratios(rounds, (ours, seconds), (other, seconds))
        if found:
            lines.append(_verdict(f"documents to dense table, {ours} / {other}", found, REQUIRED_PIPELINE[precision]))
    found = ratios(rounds, (ours, dense_step), (BF16_PEER, whole))
    if found and precision in REQUIRED_EMBEDDING:
        lines.append(_verdict(f"dense asset, {ours} / {BF16_PEER}", found, REQUIRED_EMBEDDING[precision]))
    return lines


def _verdict(what: str, found: Sequence[float], required: float) -> str:
    median = statistics.median(found)
    return f"- {what}: {median:.2f}, at least {required}: {outcome(median >= required)}"


def _side(name: str, said: Sequence[Mapping[str, Any]]) -> str:
    took = statistics.median(each["seconds"] for each in said)
    rate = statistics.median(whole(each) for each in said)
    used = statistics.median(each["cpu"] for each in said)
    return f"| {name} | {said[0]['chunks']} | {took:.1f} | {used:.1f} | {rate:.1f} |"


def _cell(found: Sequence[float]) -> str:
    if not found:
        return "-"
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
