"""What a stage did: one record, from which span, metrics, manifest and footer are derived."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

StageName = Literal["chunk", "dense", "sparse", "fuse", "rerank", "export"]
Attribute = bool | int | float | str | list[str]

# Called with stage, collection, items done, items in all.
ProgressReport = Callable[[str, str, int, int], None]


def ignore_progress(stage: str, collection: str, done: int, total: int) -> None:
    """Reports progress to nobody."""


class StageRecord(BaseModel):
    """What one stage of one run did, for all collections of the run.

    Attributes:
        status: ``ok``, ``failed``, or ``off`` for a stage that is switched off.
        reason: Why the stage failed or was off.
        started_at: Unix time in seconds.
        ended_at: Unix time in seconds.
        batch_latencies_s: Seconds of each batch of work: a request to Triton, or an exported collection.
        batch_size: Items of the largest batch.
        items: Items by outcome, for example ``computed`` and ``reused``.
        coverage: Share of the chunks that have a row, by collection.
        models: The models that made the rows, name to fingerprint, the primary first.
        gpu_peak_bytes: Highest GPU memory seen, by device; empty without a GPU.
        attributes: What only this stage has, by the span attribute's name.
    """

    model_config = ConfigDict(frozen=True)

    stage: StageName
    status: Literal["ok", "failed", "off"]
    reason: str | None = None
    collections: list[str]
    started_at: float
    ended_at: float
    batch_latencies_s: list[float] = Field(default_factory=list)
    batch_size: int = 0
    items: dict[str, int] = Field(default_factory=dict)
    coverage: dict[str, float] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    gpu_peak_bytes: dict[str, int] = Field(default_factory=dict)
    fallback_used: bool = False
    fallback_reason: str | None = None
    attributes: dict[str, Attribute] = Field(default_factory=dict)

    @property
    def latency_s(self) -> float:
        """Seconds from the stage's start to its end."""
        return self.ended_at - self.started_at


class StageMeter:
    """Collects, while a stage works, what its record will say."""

    def __init__(
        self,
        stage: StageName,
        collections: list[str],
        *,
        report: ProgressReport = ignore_progress,
        gpu_memory: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self.stage = stage
        self.collections = collections
        self.attributes: dict[str, Attribute] = {}
        self.coverage: dict[str, float] = {}
        self.models: dict[str, str] = {}
        self._report = report
        self._gpu_memory = gpu_memory
        self._gpu_peak: dict[str, int] = {}
        self._latencies: list[float] = []
        self._batch_size = 0
        self._items: Counter[str] = Counter()
        self._started_at = time.time()

    def batch(self, latency_s: float, size: int) -> None:
        """A batch of ``size`` items took ``latency_s`` seconds."""
        self._latencies.append(latency_s)
        self._batch_size = max(self._batch_size, size)

    @property
    def rate(self) -> float:
        """Items computed a second since the stage began."""
        return round(self._items["computed"] / max(time.time() - self._started_at, 1e-9), 2)

    def count(self, outcome: str, items: int) -> None:
        """``items`` items ended with an outcome."""
        self._items[outcome] += items

    def progress(self, collection: str, done: int, total: int) -> None:
        """Tells whoever watches how far the stage is."""
        self._report(self.stage, collection, done, total)

    def sample_gpu(self) -> None:
        """Looks at the GPU memory and keeps the highest value a device."""
        for device, used in self._gpu_memory().items():
            self._gpu_peak[device] = max(used, self._gpu_peak.get(device, 0))

    def record(self, status: Literal["ok", "failed", "off"] = "ok", reason: str | None = None) -> StageRecord:
        """The record of everything until now."""
        return StageRecord(
            stage=self.stage,
            status=status,
            reason=reason,
            collections=self.collections,
            started_at=self._started_at,
            ended_at=time.time(),
            batch_latencies_s=self._latencies,
            batch_size=self._batch_size,
            items=dict(self._items),
            coverage=self.coverage,
            models=self.models,
            gpu_peak_bytes=self._gpu_peak,
            attributes=self.attributes,
        )
