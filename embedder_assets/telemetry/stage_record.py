"""What a stage did: one record, from which span, metrics, manifest and footer are derived."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from embedder_assets.errors import RecoveryKind
from embedder_assets.sanitize import safe_line

StageName = Literal["chunk", "dense", "sparse", "fuse", "rerank", "export"]
Attribute = bool | int | float | str | list[str]
MitigationKind = Literal["batch_halved", "batch_recovered", "item_failed", RecoveryKind]
# Bounds a record however many requests a stage sends.
REQUESTS_TRACED = 500


class ProgressReport(Protocol):
    """Shows how far a stage is."""

    def __call__(self, stage: str, collection: str, done: int, total: int, pages: int = 0) -> None:
        """Takes the items done, the items in all (0 where that is not known yet) and the pages of those done."""


def ignore_progress(stage: str, collection: str, done: int, total: int, pages: int = 0) -> None:
    """Reports progress to nobody."""


class RecordPart(BaseModel):
    """A part of a record: it says what happened, so nothing changes it."""

    model_config = ConfigDict(frozen=True)


class LeaseEvent(RecordPart):
    """A stage took or gave back its lease on the accelerator.

    Attributes:
        at: Unix time in seconds.
        waited_s: Seconds from asking to having; 0 of a release.
        gpu_used_bytes: GPU memory in use at that moment, by device; empty without a GPU.
        models: The models that the stage may use.
    """

    event: Literal["acquired", "released"]
    policy: str
    at: float
    waited_s: float = 0.0
    gpu_used_bytes: dict[str, int] = Field(default_factory=dict)
    models: list[str] = Field(default_factory=list)


class Mitigation(RecordPart):
    """What was done about a request that got no answer.

    Attributes:
        kind: ``batch_halved``, ``batch_recovered``, or ``item_failed`` for a text that failed alone;
            ``request_retried``, ``server_restarted`` or ``model_reloaded`` where the server, or the model's process,
            was gone; ``endpoint_ejected``, ``endpoint_restored`` or ``endpoint_refused`` of one of several servers.
        model: Name of the model.
        reason: What the server said, or what was gone, as one word.
        batch_size: Texts per request from then on; 0 where it is not about their number.
        at: Unix time in seconds.
        items: Ids of the chunks or queries that failed; of a pair both, with a space between them.
        endpoint: ``host:port`` of the server that it is about, where there are several.
    """

    kind: MitigationKind
    model: str
    reason: str
    batch_size: int
    at: float
    items: list[str] = Field(default_factory=list)
    endpoint: str | None = None


class RequestTrace(RecordPart):
    """A request to Triton that was sampled: its span, whose children are Triton's own.

    Attributes:
        span_id: 16 hex digits.
        started_at: Unix time in seconds.
        latency_s: Seconds from sending to answer, Triton's queue included.
        size: Texts or pairs.
        dimension: Length of the vectors, where the model makes some.
    """

    span_id: str
    model: str
    started_at: float
    latency_s: float
    size: int
    dimension: int | None = None


class Tokenization(RecordPart):
    """How a model's tokenizer reads a sample of a collection's texts: shares from 0 to 1.

    Attributes:
        texts: How many were looked at.
        unknown: Share of the tokens that are the tokenizer's unknown one.
        spelled_out: Share of the tokens that are a single letter of a word that falls apart into nothing but letters.
        unreadable: Share of the texts of which more than half of the tokens are of these two kinds.
        truncated: Share of the texts that are longer than the model reads, and are cut there.
    """

    texts: int
    unknown: float
    spelled_out: float
    unreadable: float
    truncated: float


class StageRecord(RecordPart):
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
        tokenization: How each model's tokenizer reads the chunks, by collection and model.
        gpu_peak_bytes: Highest GPU memory seen, by device; empty without a GPU.
        host_peak_bytes: Highest memory of this process and the embedded Triton together, without a GPU.
        fallback_used: Whether something simpler stood in for the stage's model.
        fallback_reason: Why, as one word; the message is in ``reason``.
        lease_events: When the stage took and gave back the accelerator.
        mitigations: What was done about requests that were too large or got no answer.
        requests: Requests to Triton that were sampled for the trace.
        notes: Sentences about what the figures do not explain.
        attributes: What only this stage has, by the span attribute's name.
    """

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
    tokenization: dict[str, dict[str, Tokenization]] = Field(default_factory=dict)
    gpu_peak_bytes: dict[str, int] = Field(default_factory=dict)
    host_peak_bytes: int | None = None
    fallback_used: bool = False
    fallback_reason: str | None = None
    lease_events: list[LeaseEvent] = Field(default_factory=list)
    mitigations: list[Mitigation] = Field(default_factory=list)
    requests: list[RequestTrace] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    attributes: dict[str, Attribute] = Field(default_factory=dict)

    @property
    def latency_s(self) -> float:
        """Seconds from the stage's start to its end."""
        return self.ended_at - self.started_at


def trace_id_of(run_id: str) -> str:
    """The trace of a run, 32 hex digits: a UUID is 128 bits, so every process of a run knows it."""
    return uuid.UUID(run_id).hex


def run_span_id(run_id: str) -> str:
    """The root span of a run's trace, 16 hex digits."""
    return _span_id(run_id, "rag.run")


def stage_span_id(run_id: str, stage: StageName) -> str:
    """The span of a stage in its run's trace, 16 hex digits, known before the span is written."""
    return _span_id(run_id, f"rag.{stage}")


def _span_id(run_id: str, name: str) -> str:
    return uuid.uuid5(uuid.UUID(run_id), name).hex[:16]


class StageMeter:
    """Collects, while a stage works, what its record will say.

    It is also the observer to which ``TritonSession.infer_many`` reports requests.

    Args:
        stage: Name of the stage.
        collections: What it works on.
        report: Called with how far the stage is.
        run_id: The Dagster run, whose trace the requests belong to; empty outside a run.
        request_ratio: Share of the requests to Triton that get a span, 0 to 1; the first one always does unless 0.
    """

    def __init__(
        self,
        stage: StageName,
        collections: list[str],
        *,
        report: ProgressReport = ignore_progress,
        run_id: str = "",
        request_ratio: float = 0.0,
    ) -> None:
        self.stage = stage
        self.collections = collections
        self.attributes: dict[str, Attribute] = {}
        self._coverage: dict[str, float] = {}
        self.models: dict[str, str] = {}
        self.tokenization: dict[str, dict[str, Tokenization]] = {}
        self._report = report
        self._run_id = run_id
        self._request_ratio = request_ratio
        self._gpu_peak: dict[str, int] = {}
        self._host_peak: int | None = None
        self._latencies: list[float] = []
        self._batch_size = 0
        self._items: Counter[str] = Counter()
        self._fallback: tuple[str, str] | None = None
        self._leases: list[LeaseEvent] = []
        self._mitigations: list[Mitigation] = []
        self._requests: list[RequestTrace] = []
        self._notes: list[str] = []
        # Given each note at once.
        self.log_note: Callable[[str], None] | None = None
        self._sampled_any = False
        self._started_at = time.time()
        # A clock may be set while a stage runs; what it took is measured by one that is never set.
        self._began = time.monotonic()

    def batch(self, latency_s: float, size: int) -> None:
        """A batch of ``size`` items took ``latency_s`` seconds."""
        self._latencies.append(latency_s)
        self._batch_size = max(self._batch_size, size)

    def traceparent(self) -> str | None:
        """The W3C trace context for the next request if it is sampled: a new span below this stage's."""
        if not self._run_id or not self._request_ratio:
            return None
        if self._sampled_any and random.random() >= self._request_ratio:
            return None
        self._sampled_any = True
        return f"00-{trace_id_of(self._run_id)}-{secrets.token_hex(8)}-01"

    def request(
        self, model: str, latency_s: float, size: int, *, traceparent: str | None = None, dimension: int | None = None
    ) -> None:
        """A request to Triton with ``size`` texts was answered after ``latency_s`` seconds."""
        self.batch(latency_s, size)
        if traceparent is not None and len(self._requests) < REQUESTS_TRACED:
            self._requests.append(
                RequestTrace(
                    span_id=traceparent.split("-")[2],
                    model=model,
                    started_at=time.time() - latency_s,
                    latency_s=latency_s,
                    size=size,
                    dimension=dimension,
                )
            )

    def mitigated(self, kind: MitigationKind, model: str, batch_size: int, reason: str) -> None:
        """Requests to a model were made smaller, or larger again."""
        self._mitigations.append(
            Mitigation(kind=kind, model=model, reason=reason, batch_size=batch_size, at=time.time())
        )

    def recovered(self, kind: RecoveryKind, model: str, reason: str, *, endpoint: str | None, at: float) -> None:
        """Something was done at a time (Unix, seconds) to get an answer that did not come."""
        self._mitigations.append(
            Mitigation(kind=kind, model=model, reason=reason, batch_size=0, at=at, endpoint=endpoint)
        )

    def items_failed(self, model: str, items: list[str], reason: str) -> None:
        """Chunks, queries, or pairs of both for which the model failed although each was alone in its request."""
        self.count("failed", len(items))
        self._mitigations.append(
            Mitigation(kind="item_failed", model=model, reason=reason, batch_size=1, at=time.time(), items=items)
        )

    def fell_back(self, reason: str, message: str) -> None:
        """Something simpler stood in for the stage's model; ``reason`` is one word and becomes a label."""
        self._fallback = self._fallback or (reason, message)

    def note(self, sentence: str) -> None:
        """Says, once, what the figures of the stage do not explain."""
        if sentence not in self._notes:
            self._notes.append(sentence)
            if self.log_note is not None:
                self.log_note(sentence)

    def record_lease(self, event: LeaseEvent) -> None:
        """The stage took or gave back its lease."""
        self._leases.append(event)

    @property
    def rate(self) -> float:
        """Items computed per second since the stage began."""
        return round(self._items["computed"] / max(time.monotonic() - self._began, 1e-9), 2)

    def count(self, outcome: str, items: int) -> None:
        """``items`` items ended with an outcome."""
        self._items[outcome] += items

    def add(self, attribute: str, number: int) -> None:
        """Adds to an attribute that counts something over all collections."""
        self.attributes[attribute] = int(self.attributes.get(attribute, 0)) + number  # type: ignore[arg-type]

    def cover(self, collection: str, ratio: float) -> None:
        """A share of a collection's chunks, 0 to 1, has a row; the smallest is an attribute of the sparse stage."""
        self._coverage[collection] = ratio
        if self.stage == "sparse":
            self.attributes["coverage_ratio"] = min(self._coverage.values())

    def progress(self, collection: str, done: int, total: int) -> None:
        """Reports how far the stage is."""
        self._report(self.stage, collection, done, total)

    def record_gpu_memory(self, used_bytes: dict[str, int]) -> None:
        """Keeps the highest GPU memory per device."""
        for device, used in used_bytes.items():
            self._gpu_peak[device] = max(used, self._gpu_peak.get(device, 0))

    def record_host_memory(self, used_bytes: int) -> None:
        """Keeps the highest host memory."""
        self._host_peak = max(used_bytes, self._host_peak or 0)

    def record(self, status: Literal["ok", "failed", "off"] = "ok", reason: str | None = None) -> StageRecord:
        """The record of everything until now."""
        return StageRecord(
            stage=self.stage,
            status=status,
            reason=safe_line(reason or (self._fallback[1] if self._fallback else "")) or None,
            collections=self.collections,
            started_at=self._started_at,
            ended_at=self._started_at + time.monotonic() - self._began,
            batch_latencies_s=self._latencies,
            batch_size=self._batch_size,
            items=dict(self._items),
            coverage=self._coverage,
            models=self.models,
            tokenization=self.tokenization,
            gpu_peak_bytes=self._gpu_peak,
            host_peak_bytes=None if self._gpu_peak else self._host_peak,
            fallback_used=self._fallback is not None,
            fallback_reason=self._fallback[0] if self._fallback else None,
            lease_events=self._leases,
            mitigations=self._mitigations,
            requests=self._requests,
            notes=[safe_line(note) for note in self._notes],
            attributes=self.attributes,
        )
