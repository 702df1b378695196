"""The settings themselves, in the groups of ``embedder.toml``. In Python each is an attribute of ``Settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from embedder_assets.settings.types import (
    BucketUrl,
    Device,
    Endpoints,
    FallbackStages,
    FilePath,
    FolderPath,
    Fusion,
    HttpUrl,
    LeasePolicy,
    Links,
    Names,
    StatePath,
    Urls,
)

ENV_PREFIX = "EMBEDDER_"
PROJECT_ROOT = Path(__file__).resolve().parents[2]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class StorageSettings(_Group):
    """Where things lie."""

    home: StatePath = Field(
        Path(".embedder"),
        description="Folder of all state: tables, runs, exports, logs. Its path has no character that is syntax in a "
        "URL or a partition, such as `%`, `?` or `=`.",
    )
    corpus_dir: FolderPath = Field(
        PROJECT_ROOT / "examples" / "corpus", description="Folder whose sub-folders are the collections."
    )
    tables_url: BucketUrl | None = Field(
        None,
        description="`s3://bucket/prefix`: the tables are there, for several hosts, and not under EMBEDDER_HOME. "
        "Endpoint and credentials come from AWS's own variables.",
    )
    corpus_url: BucketUrl | None = Field(
        None,
        description="`s3://bucket/prefix`: the corpus is there; the folder `corpus` of EMBEDDER_HOME is made like it "
        "before a run and before a sensor looks.",
    )
    exports_url: BucketUrl | None = Field(
        None, description="`s3://bucket/prefix`: the exports are delivered there too, from EMBEDDER_HOME."
    )
    history_days: float = Field(
        7.0, ge=0, description="Days for which maintenance keeps earlier versions of the tables, to read and restore."
    )


class TritonSettings(_Group):
    """The server of the models, and what a client shows it."""

    triton_url: Endpoints = Field(
        (),
        description="gRPC `host:port` of a Triton server, or of several, separated by commas (a list in "
        "embedder.toml); unset means the embedded server.",
    )
    triton_metrics_url: Urls = Field(
        (),
        description="Metrics addresses of the servers at EMBEDDER_TRITON_URL, separated by commas, for their GPU "
        "memory series.",
    )
    triton_timeout_s: float = Field(120.0, gt=0, description="Seconds one inference request may take.")
    triton_retry_s: float = Field(
        60.0, ge=0, description="Seconds for which a request is sent again while Triton does not answer; 0: not at all."
    )
    triton_tls_ca: FilePath | None = Field(
        None,
        description="Certificates (PEM) that vouch for the servers at EMBEDDER_TRITON_URL or for `embedder serve`; the "
        "connection speaks TLS.",
    )
    triton_tls_cert: FilePath | None = Field(
        None, description="The client's own certificate and its private key, in one PEM file, for mutual TLS."
    )
    triton_secret_file: FilePath | None = Field(
        None,
        description="File with `name=value`, the header that Triton's restricted protocols ask for. `embedder serve` "
        "restricts with it who may load models.",
    )
    triton_trace_url: HttpUrl | None = Field(
        None,
        description="Where the embedded Triton posts its spans (OTLP over HTTP); by default where "
        "OTEL_EXPORTER_OTLP_ENDPOINT points to, if that is HTTP.",
    )
    request_batch_size: int = Field(64, ge=1, le=512, description="Texts in one request to Triton.")


class ServeSettings(_Group):
    """TLS of ``embedder serve``."""

    serve_tls_cert: FilePath | None = Field(
        None,
        description="Certificate of `embedder serve` and its private key, in one PEM file; its gRPC speaks TLS, and "
        "HTTP is closed.",
    )
    serve_tls_client_ca: FilePath | None = Field(
        None, description="Certificates (PEM) that vouch for clients of `embedder serve`: others get nothing."
    )


class ModelSettings(_Group):
    """Which models, and what they are built for."""

    model_repository: FolderPath = Field(
        PROJECT_ROOT / "model_repository", description="The model repository that Triton loads."
    )
    device: Device = Field("cpu", description="What the models are built for and served on: `cpu` or `gpu`.")
    dense_models: Names = Field(
        ("dense_minilm",),
        description="Names of the dense models in the model repository, separated by commas (a list in embedder.toml). "
        "The first is the primary: chunks are cut with its tokenizer.",
    )
    sparse_model: str = Field("sparse_splade", description="Name of the sparse model in the model repository.")
    rerank_model: str = Field("rerank_cross_encoder", description="Name of the cross-encoder in the model repository.")


class StageSettings(_Group):
    """Which stages run, and what happens when their models fail."""

    enable_sparse: bool = Field(True, description="Whether the sparse stage runs.")
    enable_rerank: bool = Field(True, description="Whether the rerank stage runs.")
    fallback: FallbackStages = Field(
        ("sparse", "rerank"),
        description="Stages for whose failing model something stands in (lexical vectors; the fused order), separated "
        "by commas (a list in embedder.toml), or `none`; of the others a failure fails the run.",
    )


class RetrievalSettings(_Group):
    """How queries are answered, and how good the answers have to be."""

    candidate_depth: int = Field(
        100, ge=1, description="Chunks a query takes from each first-stage ranking; their union is fused."
    )
    fusion: Fusion = Field(
        "convex",
        description="How the first-stage rankings are fused: `convex`, a convex combination of their scores; `rrf`, "
        "reciprocal rank fusion, which looks at ranks only.",
    )
    rerank_depth: int = Field(30, ge=1, description="Fused candidates a query sends to the cross-encoder.")
    approximate_above: int = Field(
        200_000,
        ge=0,
        description="Chunks of a collection above which `embedder search` uses an approximate index (extra "
        "`approximate`); 0: never.",
    )
    quality_tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="How far nDCG@10 may lie below the best of dense, sparse and fused, and below the accepted "
        "baseline.",
    )
    quality_strict: bool = Field(
        False,
        description="Whether a final ranking below its best part (dense, sparse or fused) fails the check instead of "
        "warning.",
    )


class LimitSettings(_Group):
    """What a document may cost, and how much of a collection may go at once."""

    max_document_mb: float = Field(
        20.0, gt=0, description="Larger files are refused, each with a message (MB, 1,000,000 bytes)."
    )
    document_timeout_s: float = Field(
        120.0, gt=0, description="Seconds that reading one document may take, unless it is text or Markdown."
    )
    max_lost_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a collection's documents that may be gone at once; more, or all of them, has to be "
        "confirmed by a run with 1.",
    )


class AutomationSettings(_Group):
    """Sensors, schedules, and how the work is divided among runs."""

    automation: bool = Field(
        False, description="Whether sensors and schedules are on until somebody switches them off in the UI."
    )
    settle_s: float = Field(
        30.0,
        ge=0,
        description="Seconds for which the files of a changed collection must not change any more before a run.",
    )
    collections_per_run: int | None = Field(
        None,
        ge=1,
        description="Collections in one run of a backfill; unset: all of them. 1 where several workers share the work.",
    )
    shards: int = Field(
        8,
        ge=1,
        le=1024,
        description="Parts in which the job `shard_vectors` embeds a collection, for several workers at once.",
    )


class GpuSettings(_Group):
    """Memory of the accelerators."""

    gpu_soft_limit_gb: float = Field(12.0, gt=0, description="GPU memory a stage should stay under, per device.")
    gpu_lease_policy: LeasePolicy = Field(
        "shared",
        description="`shared`: all models stay loaded. `exclusive`: only those of the stage that holds the lease, one "
        "stage at a time.",
    )


class MetricsSettings(_Group):
    """The metrics endpoint."""

    metrics_enabled: bool = Field(True, description="Whether metrics are emitted and scraped.")
    metrics_address: str = Field("127.0.0.1", min_length=1, description="Address that the metrics endpoint listens on.")
    metrics_port: int = Field(9464, ge=1, le=65535, description="Port of the metrics endpoint.")
    metrics_push_url: HttpUrl | None = Field(None, description="A Pushgateway, for hosts that cannot be scraped.")
    metrics_password_file: FilePath | None = Field(
        None, description="File with the password of the metrics endpoint (basic authentication, user `prometheus`)."
    )
    metrics_tls_cert: FilePath | None = Field(
        None, description="Certificate and its private key, in one PEM file; the metrics endpoint speaks TLS."
    )


class UiSettings(_Group):
    """The Dagster UI."""

    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI that `embedder up` starts.")
    links: Links = Field(
        {},
        description="Addresses that each run links to, as `name=url`, separated by commas (a table in embedder.toml); "
        "`{trace_id}` in one becomes that of the run.",
    )


# As in ``embedder.toml`` and docs/settings.md, in their order.
GROUPS: dict[str, type[_Group]] = {
    "storage": StorageSettings,
    "triton": TritonSettings,
    "serve": ServeSettings,
    "models": ModelSettings,
    "stages": StageSettings,
    "retrieval": RetrievalSettings,
    "limits": LimitSettings,
    "automation": AutomationSettings,
    "gpu": GpuSettings,
    "metrics": MetricsSettings,
    "ui": UiSettings,
}


class Settings(
    StorageSettings,
    TritonSettings,
    ServeSettings,
    ModelSettings,
    StageSettings,
    RetrievalSettings,
    LimitSettings,
    AutomationSettings,
    GpuSettings,
    MetricsSettings,
    UiSettings,
):
    """The resolved settings with their types, defaults and meanings."""

    _provenance: dict[str, str] = PrivateAttr(default_factory=dict)

    def provenance(self, name: str) -> str:
        """Where a value came from: ``default``, ``file:…``, ``env:…``, ``cli:…`` or ``run_config``."""
        return self._provenance.get(name, "default")

    def describe(self, name: str) -> dict[str, Any]:
        """One setting as ``{value, provenance}``, for a manifest."""
        return {"value": getattr(self, name), "provenance": self.provenance(name)}


FIELDS = {name: Settings.model_fields[name] for group in GROUPS.values() for name in group.model_fields}
GROUP_OF = {name: group for group, members in GROUPS.items() for name in members.model_fields}


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + setting.upper()


def key_of(setting: str) -> str:
    """The key of a setting in its group of ``embedder.toml``, which does not repeat the group's name."""
    group = GROUP_OF[setting]
    return "enabled" if setting == group else setting.removeprefix(f"{group}_")
