"""The manifest of a run, ``processing_summary.json``, schema v4.1: the models that its JSON Schema is made from.

A part that does not apply, such as the section of a stage that was off, is absent from the file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from embedder_assets.telemetry.emission import EmissionStatus
from embedder_assets.telemetry.otlp import OtlpReport
from embedder_assets.telemetry.stage_record import Attribute, MitigationKind, StageName

SCHEMA_VERSION: Final = "v4.1"
LEGACY_VERSION: Final = "v4.0"
FILE_NAME = "processing_summary.json"


def _instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a date and time with its offset from UTC")
    return text


Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"format": "date-time"})]
Ratio = Annotated[float, Field(ge=0, le=1)]
RankingStage = Literal["fuse", "rerank"]
GpuStatus = Literal["within_limit", "exceeded_soft_limit", "no_gpu"]


class Section(BaseModel):
    """A part of the manifest: it has the fields that are named here and no other, and every number is finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Toggle(Section):
    """A setting that switches something on or off, and where its value came from."""

    value: bool
    provenance: str = Field(description="`default`, `file:…`, `env:…`, `cli:…` or `run_config`.")


class FeatureToggles(Section):
    """What could be switched off in this run."""

    enable_sparse: Toggle
    enable_rerank: Toggle
    metrics_enabled: Toggle | None = Field(None, description="Absent in a v4.0 manifest.")


class TokenizationEntry(Section):
    """How a model's tokenizer reads a sample of a collection's chunks, or of its pairs of query and chunk."""

    texts: NonNegativeInt = Field(description="Chunks, or pairs, in the sample.")
    unknown: Ratio = Field(description="Share of the tokens that are the tokenizer's unknown one.")
    spelled_out: Ratio = Field(description="Share of the tokens that are single letters of words it does not know.")
    unreadable: Ratio = Field(description="Share of the texts with more than half of such tokens.")
    truncated: Ratio = Field(description="Share of the texts that are longer than the model reads, and are cut there.")


class StageRun(Section):
    """What a stage did. What v4.0 did not record is absent in a manifest that was read from v4.0."""

    status: Literal["ok", "failed", "unknown"] = Field(description="`unknown` only of v4.0.")
    reason: str | None = Field(None, description="Why it failed or fell back.")
    latency_ms: NonNegativeFloat | None = Field(None, description="From the stage's start to its end.")
    batch_size: NonNegativeInt | None = Field(None, description="Items of the largest batch; 0 if none was needed.")
    batches: NonNegativeInt | None = Field(None, description="Requests to Triton.")
    items: dict[str, NonNegativeInt] = Field(description="Items by outcome.")
    fallback_used: bool
    fallback_reason: str | None = Field(None, description="One word.")
    gpu_peak_gb: NonNegativeFloat | None = Field(None, description="The largest of all devices, 10^9 bytes.")
    models: dict[str, str] | None = Field(None, description="Name to fingerprint, the primary first.")
    coverage: dict[str, Ratio] | None = Field(None, description="Share of chunks that have a row, by collection.")
    tokenization: dict[str, dict[str, TokenizationEntry]] | None = Field(
        None, description="What the models can read of the chunks, by collection and model."
    )


class DenseRun(StageRun):
    """What the dense stage did."""

    models_executed: list[str] | None = None
    chunks_per_second: NonNegativeFloat | None = None


class SparseRun(StageRun):
    """What the sparse stage did."""

    coverage_ratio: Ratio | None = Field(None, description="The smallest of all collections.")


class RerankRun(StageRun):
    """What the rerank stage did."""

    candidate_count: NonNegativeInt | None = Field(None, description="Rows of all collections.")


class Evaluation(Section):
    """How good the rankings of a collection are."""

    judged_queries: NonNegativeInt
    input_digest: str
    rankings: dict[str, dict[str, float]] = Field(description="Measures by ranking.")


class StageWeightsEntry(Section):
    """The weights of a stage of a collection's ranking."""

    weights: dict[str, float] = Field(description="`dense` of `fuse`; `cross_encoder` and `agreement` of `rerank`.")
    source: str = Field(description="Where they are from: `learned from …` or `default: …`.")
    judged_queries: NonNegativeInt
    default_ndcg: NonNegativeFloat | None = Field(
        None, description="nDCG@10 by the default; absent if nothing was learned."
    )
    learned_ndcg: NonNegativeFloat | None = Field(None, description="nDCG@10 by the learned weights, out of fold.")


class DocumentCounts(Section):
    """The documents of a collection."""

    documents: NonNegativeInt
    with_metadata: NonNegativeInt = Field(description="Documents whose metadata has a field.")
    fields: NonNegativeInt = Field(description="Fields that documents have.")
    conflicts: NonNegativeInt = Field(description="Values of another type than the field has elsewhere.")
    partial: NonNegativeInt = Field(description="Documents whose text lacks something of their file.")


class ExportedFile(Section):
    """A file in the export folder of a collection."""

    name: str
    size_bytes: NonNegativeInt
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Export(Section):
    """The export of a collection."""

    files: list[ExportedFile] | None = Field(None, description="Absent when the export is not whole.")


class SpanEntry(Section):
    """A span of a stage, as it is in ``spans.jsonl`` next to the manifest."""

    status: Literal["active", "recorded"] = Field(description="`active`: in the file. `recorded`: v4.0 claims it.")
    attributes: dict[str, Attribute]


class MetricEntry(EmissionStatus):
    """Whether a scrape has shown a stage's samples. ``emitted`` needs samples, ``skipped`` needs a reason."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "if": {"properties": {"status": {"const": "emitted"}}},
            "then": {"required": ["samples"], "properties": {"samples": {"minimum": 1}}},
            "else": {"required": ["reason"], "properties": {"reason": {"type": "string"}}},
        },
    )

    status: Literal["emitted", "skipped"]

    @model_validator(mode="after")
    def _scraped_or_explained(self) -> MetricEntry:
        if self.status == "emitted" and self.samples < 1:
            raise ValueError("'emitted' needs at least one sample that a scrape has shown")
        if self.status == "skipped" and self.reason is None:
            raise ValueError("'skipped' needs a reason")
        return self


class Telemetry(Section):
    """What the run left for observers, and what was proved to have arrived."""

    spans: dict[str, SpanEntry] = Field(description="By the name of the span; a stage that was off has none.")
    metrics: dict[StageName, MetricEntry] = Field(description="Of each stage with a histogram.")
    otlp: OtlpReport | None = None
    endpoint: str | None = Field(None, description="URL of the metrics endpoint that was scraped.")


class LatencyPercentiles(Section):
    """Percentiles of a stage's batches in milliseconds."""

    p50: NonNegativeFloat
    p95: NonNegativeFloat
    p99: NonNegativeFloat


class GpuBaseline(Section):
    """GPU memory (10^9 bytes) against the soft limit."""

    peak_memory_used_gb: NonNegativeFloat | None = Field(description="The largest of all devices; null without a GPU.")
    soft_limit_gb: NonNegativeFloat | None = Field(description="Per device; null if v4.0 did not record it.")
    soft_limit_exceeded: bool
    soft_limit_devices: list[str] = Field(description="Devices that went above the limit.")
    status: GpuStatus
    devices: dict[str, NonNegativeFloat] = Field(default_factory=dict, description="Peak per device.")
    stages: dict[StageName, dict[str, NonNegativeFloat]] = Field(
        default_factory=dict, description="Peak per device in each stage."
    )

    @model_serializer(mode="wrap")
    def _with_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # These two are always asked for, so "none" is said and not left out.
        always = {"peak_memory_used_gb": self.peak_memory_used_gb, "soft_limit_gb": self.soft_limit_gb}
        fields: dict[str, Any] = serialize(self)
        return always | fields


class HostBaseline(Section):
    """Host memory (10^9 bytes), where there is no GPU."""

    peak_memory_used_gb: NonNegativeFloat = Field(description="This process and the embedded Triton together.")


class PerformanceBaseline(Section):
    """What the run took."""

    batch_latency_ms: dict[StageName, LatencyPercentiles] = Field(description="Of each stage that computed.")
    gpu: GpuBaseline
    host: HostBaseline | None = None


class LeaseEventEntry(Section):
    """A stage took or gave back its lease on the accelerator."""

    stage: StageName
    event: Literal["acquired", "released"]
    policy: str
    at: Instant
    waited_s: NonNegativeFloat = Field(description="Seconds from asking to having; 0 of a release.")
    gpu_used_bytes: dict[str, NonNegativeInt] = Field(description="In use at that moment, by device.")
    models: list[str] = Field(description="Models that the stage may use.")


class MitigationEntry(Section):
    """What was done about a request that got no answer."""

    stage: StageName
    kind: MitigationKind
    model: str
    reason: str
    batch_size: NonNegativeInt = Field(
        description="Texts per request from then on; 0 where it is not about their number."
    )
    at: Instant
    items: list[str] = Field(description="Ids of the chunks, queries or pairs that failed.")
    endpoint: str | None = Field(None, description="`host:port` of the server, where there are several.")


class Compatibility(Section):
    """Which versions this manifest and its readers know."""

    current: Literal["v4.1"]
    legacy: list[str] = Field(description="Versions that still read.")
    upgraded_from: str | None = Field(None, description="The version of the file, if it is a legacy one.")


class Manifest(Section):
    """What one run did. A section of a stage that was off is absent from the file."""

    schema_version: Literal["v4.1"]
    run_id: str
    generated_at: Instant = Field(description="UTC, ISO 8601.")
    status: Literal["succeeded", "failed", "unknown"] = Field(description="`unknown` only of v4.0.")
    collections: list[str]
    chunk_count: NonNegativeInt
    near_duplicates: dict[str, NonNegativeInt] | None = Field(
        None,
        description="Of each collection, the documents that say nearly what another one says; that one not counted.",
    )
    feature_toggles: FeatureToggles
    dense_run: DenseRun | None = None
    sparse_run: SparseRun | None = None
    rerank_run: RerankRun | None = None
    evaluation: dict[str, Evaluation] | None = Field(None, description="Of each collection with judged queries.")
    ranking_weights: dict[str, dict[RankingStage, StageWeightsEntry]] | None = Field(
        None, description="Of each collection and stage that uses weights. Absent in a manifest read from v4.0."
    )
    documents: dict[str, DocumentCounts] | None = Field(
        None, description="Of each collection. Absent in a manifest read from v4.0."
    )
    exports: dict[str, Export] = Field(description="Of each collection; empty when the export failed.")
    telemetry: Telemetry
    performance_baseline: PerformanceBaseline
    lease_events: list[LeaseEventEntry]
    mitigations: list[MitigationEntry]
    compatibility: Compatibility
    warnings: list[str]
