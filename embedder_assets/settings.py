"""Every setting: its default, its meaning, and where its value came from.

Precedence, lowest first: default, ``embedder.toml`` in the working directory, the environment (prefix
``EMBEDDER_``), the command line or the run config. Each resolved value keeps its provenance in words, so that
a manifest can say why a stage was off. The table in ``docs/settings.md`` is generated from this module.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from embedder_assets.errors import SettingsError
from embedder_assets.permissions import owned_by_another_user
from embedder_assets.pydantic_errors import first_field_error
from embedder_assets.sanitize import HIDDEN, SecretUrl, secret_url

ENV_PREFIX = "EMBEDDER_"
SETTINGS_FILE = "embedder.toml"
PROJECT_ROOT = Path(__file__).resolve().parent.parent


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except (RuntimeError, OSError) as error:
        # No HOME and no entry in the password file for `~`, or a working directory that is gone.
        raise ValueError(f"a path that leads somewhere ({error})") from None


def _plain(path: Path) -> Path:
    # Delta Lake and Dagster's SQLite take the folder for a URL, and polars takes '=' for a partition.
    if re.search(r"[\[\]%=?^|\\\x00-\x1f\x7f\ud800-\udfff]", str(path)):
        allowed = "a path in UTF-8 without '[', ']', '%', '=', '?', '^', '|', '\\' and control characters"
        raise ValueError(f"{allowed}, not {str(path)!r}")
    return path


def _listed(value: object) -> object:
    """The names of a text with commas, as a variable of the environment has them."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _distinct_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if "" in names or len(set(names)) < len(names):
        raise ValueError("different names, none of them empty")
    return names


FolderPath = Annotated[Path, AfterValidator(_absolute)]
FilePath = Annotated[Path, AfterValidator(_absolute)]
Device = Literal["cpu", "gpu"]
LeasePolicy = Literal["shared", "exclusive"]
StatePath = Annotated[Path, AfterValidator(_absolute), AfterValidator(_plain)]
HostPort = Annotated[str, Field(pattern=r"^[^:/,\s]+:\d+$")]
HttpUrl = Annotated[SecretUrl, secret_url(r"https?://\S+")]
TraceUrl = Annotated[SecretUrl, secret_url(r"https?://\S*\{trace_id\}\S*")]
BucketUrl = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._-]+)*/?$")]
Endpoints = Annotated[tuple[HostPort, ...], BeforeValidator(_listed), AfterValidator(_distinct_names)]
Urls = Annotated[tuple[HttpUrl, ...], BeforeValidator(_listed), AfterValidator(_distinct_names)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_distinct_names), Field(min_length=1)]


class Settings(BaseModel):
    """The resolved settings with their types, defaults and meanings."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)

    _provenance: dict[str, str] = PrivateAttr(default_factory=dict)

    home: StatePath = Field(
        Path(".embedder"),
        description="Folder of all state: tables, runs, exports, logs. Its path has no character that is syntax in a "
        "URL or a partition, such as `%`, `?` or `=`.",
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
    corpus_dir: FolderPath = Field(
        PROJECT_ROOT / "examples" / "corpus", description="Folder whose sub-folders are the collections."
    )
    model_repository: FolderPath = Field(
        PROJECT_ROOT / "model_repository", description="The model repository that Triton loads."
    )
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
    triton_tls_cert: FilePath | None = Field(None, description="The client's own certificate (PEM), for mutual TLS.")
    triton_tls_key: FilePath | None = Field(None, description="Private key (PEM) of that certificate.")
    triton_secret_file: FilePath | None = Field(
        None,
        description="File with `name=value`, the header that Triton's restricted protocols ask for. `embedder serve` "
        "restricts with it who may load models.",
    )
    serve_tls_cert: FilePath | None = Field(
        None, description="Certificate (PEM) of `embedder serve`; its gRPC speaks TLS, and HTTP is closed."
    )
    serve_tls_key: FilePath | None = Field(None, description="Private key (PEM) of that certificate.")
    serve_tls_client_ca: FilePath | None = Field(
        None, description="Certificates (PEM) that vouch for clients of `embedder serve`: others get nothing."
    )
    enable_sparse: bool = Field(True, description="Whether the sparse stage runs.")
    enable_rerank: bool = Field(True, description="Whether the rerank stage runs.")
    dense_models: Names = Field(
        ("dense_minilm",),
        description="Names of the dense models in the model repository, separated by commas (a list in embedder.toml). "
        "The first is the primary: chunks are cut with its tokenizer.",
    )
    sparse_model: str = Field("sparse_splade", description="Name of the sparse model in the model repository.")
    rerank_model: str = Field("rerank_cross_encoder", description="Name of the cross-encoder in the model repository.")
    device: Device = Field("cpu", description="What the models are built for and served on: `cpu` or `gpu`.")
    request_batch_size: int = Field(64, ge=1, le=512, description="Texts in one request to Triton.")
    candidate_depth: int = Field(
        100, ge=1, description="Chunks a query takes from each first-stage ranking; their union is fused."
    )
    approximate_above: int = Field(
        200_000,
        ge=0,
        description="Chunks of a collection above which `embedder search` uses an approximate index (extra "
        "`approximate`); 0: never.",
    )
    rerank_depth: int = Field(30, ge=1, description="Fused candidates a query sends to the cross-encoder.")
    quality_tolerance: float = Field(
        0.02, ge=0, le=1, description="How far nDCG@10 may lie below the fused ranking and below the accepted baseline."
    )
    max_synthetic_queries: int = Field(
        50, ge=0, description="Queries made from headings for a collection that brings none."
    )
    max_document_mb: float = Field(
        20.0, gt=0, description="Larger files are refused, each with a message (MB, 1,000,000 bytes)."
    )
    max_text_chars: int = Field(20_000_000, ge=1, description="Characters of text that one document may have.")
    max_pdf_pages: int = Field(20_000, ge=1, description="Pages that a PDF may have.")
    max_unpacked_mb: float = Field(200.0, gt=0, description="What a DOCX may unpack to (MB).")
    max_unpacked_ratio: float = Field(
        200.0, ge=1, description="How many times its size a DOCX may unpack to, if that is more than 10 MB."
    )
    max_nesting: int = Field(
        500,
        ge=1,
        le=2000,
        description="Elements that may lie in each other in HTML and DOCX, and levels of indentation in "
        "reStructuredText.",
    )
    max_markdown_nesting: int = Field(
        50, ge=1, description="Block quotes and lists that may begin on one line of Markdown."
    )
    max_markdown_steps: int = Field(
        5_000_000, ge=1, description="Looks at a line that parsing one document's Markdown may take; about 20 seconds."
    )
    document_timeout_s: float = Field(
        120.0, gt=0, description="Seconds that reading one PDF, DOCX, HTML or reStructuredText document may take."
    )
    document_memory_mb: float = Field(
        4096.0, ge=512, description="Address space of the process that reads these formats (MB)."
    )
    max_lost_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a collection's documents that may be gone at once; more, or all of them, has to be "
        "confirmed by a run with 1.",
    )
    max_bad_share: float = Field(
        0.5, ge=0, le=1, description="Share of a collection's documents that may be unusable; with more it fails."
    )
    history_days: float = Field(
        7.0, ge=0, description="Days for which maintenance keeps former versions of the tables, to read and restore."
    )
    automation: bool = Field(
        False, description="Whether sensors and schedules are on until somebody switches them off in the UI."
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
    sensor_interval_s: int = Field(30, ge=1, description="Seconds between two looks of a sensor.")
    settle_s: float = Field(
        30.0, ge=0, description="Seconds for which the files of a changed collection have to keep still before a run."
    )
    rerank_fallback: bool = Field(
        True, description="Whether the fused order stands when the rerank model fails; otherwise the run fails."
    )
    sparse_fallback: bool = Field(
        True, description="Whether lexical vectors stand in when the sparse model fails; otherwise the run fails."
    )
    gpu_soft_limit_gb: float = Field(12.0, gt=0, description="GPU memory a stage should stay under, a device.")
    gpu_lease_policy: LeasePolicy = Field(
        "shared",
        description="`shared`: all models stay loaded. `exclusive`: only those of the stage that holds the lease, one "
        "stage at a time.",
    )
    gpu_lease_slots: int = Field(
        4, ge=1, description="Stages that may hold a lease at once, all runs of the Dagster instance; 1 if exclusive."
    )
    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI that `embedder up` starts.")
    metrics_enabled: bool = Field(True, description="Whether metrics are emitted and scraped.")
    metrics_address: str = Field("127.0.0.1", min_length=1, description="Address that the metrics endpoint listens on.")
    metrics_port: int = Field(9464, ge=1, le=65535, description="Port of the metrics endpoint.")
    metrics_required: bool = Field(
        False, description="Whether a run whose samples no scrape has shown fails its check, instead of a warning."
    )
    metrics_push_url: HttpUrl | None = Field(None, description="A Pushgateway, for hosts that cannot be scraped.")
    metrics_username: str | None = Field(None, description="User of the metrics endpoint (basic authentication).")
    metrics_password_file: FilePath | None = Field(None, description="File with that user's password.")
    metrics_tls_cert: FilePath | None = Field(None, description="Certificate (PEM); the metrics endpoint speaks TLS.")
    metrics_tls_key: FilePath | None = Field(None, description="Private key (PEM) of that certificate.")
    trace_request_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of the requests to Triton that get a span, inside Triton too."
    )
    triton_trace_url: HttpUrl | None = Field(
        None,
        description="Where the embedded Triton posts its spans (OTLP over HTTP); by default where "
        "OTEL_EXPORTER_OTLP_ENDPOINT points to, if that is HTTP.",
    )

    trace_url: TraceUrl | None = Field(
        None,
        description="Address of a trace in your trace UI, with `{trace_id}` in it: each run then links to its trace.",
    )
    dashboard_url: HttpUrl | None = Field(None, description="Address of your dashboard: each run then links to it.")

    def provenance(self, name: str) -> str:
        """Where a value came from: ``default``, ``file:…``, ``env:…``, ``cli:…`` or ``run_config``."""
        return self._provenance.get(name, "default")

    def describe(self, name: str) -> dict[str, Any]:
        """One setting as ``{value, provenance}``, for a manifest."""
        return {"value": getattr(self, name), "provenance": self.provenance(name)}


FIELDS = Settings.model_fields
# Ignoring the old name would quietly compute with the default. Old name to new.
RENAMED = {"dense_model": "dense_models"}


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + setting.upper()


def load_settings(
    overrides: Mapping[str, tuple[Any, str]] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Resolves every setting from all layers.

    Args:
        overrides: Setting name to (value, provenance) from the command line or the run config.
        environ: The environment; the process's own by default.
        directory: Where ``embedder.toml`` is looked for; the working directory by default.

    Raises:
        SettingsError: A layer names an unknown setting or gives a value that is not allowed.
    """
    environ = os.environ if environ is None else environ
    layers = [
        _file_layer((directory or Path.cwd()) / SETTINGS_FILE),
        _environment_layer(environ),
        dict(overrides or {}),
    ]
    merged: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        merged.update(layer)
    try:
        settings = Settings(**{name: value for name, (value, _) in merged.items()})
    except ValidationError as error:
        # Without its cause, which would quote the value into every log.
        raise _rejected(error, merged) from None
    if settings.corpus_url is not None:
        settings = settings.model_copy(update={"corpus_dir": _mirrored(settings.home, merged)})
        merged["corpus_dir"] = merged["corpus_url"]
    settings._provenance.update({name: provenance for name, (_, provenance) in merged.items()})
    return settings


def settings_at_load() -> Settings:
    """The settings; the defaults where they cannot be read: the code location has to load, and a run will say so."""
    try:
        return load_settings()
    except SettingsError:
        return load_settings(environ={})


def _mirrored(home: Path, merged: Mapping[str, tuple[Any, str]]) -> Path:
    """The folder that a corpus of a bucket is fetched into: one of ours, since what is not in the bucket goes."""
    if "corpus_dir" in merged:
        value, provenance = merged["corpus_dir"]
        raise SettingsError(
            f"settings 'corpus_dir' ({provenance}) and 'corpus_url' ({merged['corpus_url'][1]})",
            expected="one of them",
            got=f"both, {str(value)!r} and {merged['corpus_url'][0]!r}",
            remedy="Unset the one that does not hold the documents.",
        )
    return home / "corpus"


def _environment_layer(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    for old, new in RENAMED.items():
        if environ.get(variable_of(old), "") != "":
            raise SettingsError(
                f"environment variable {variable_of(old)}",
                expected=f"{variable_of(new)}, its new name",
                got=repr(environ[variable_of(old)]),
                remedy=f"Set {variable_of(new)} to this value and unset the old one.",
            )
    variables = {name: variable_of(name) for name in FIELDS}
    given = {name: variable for name, variable in variables.items() if environ.get(variable, "") != ""}
    return {name: (environ[variable], f"env:{variable}") for name, variable in given.items()}


def _file_layer(path: Path) -> dict[str, tuple[Any, str]]:
    if not path.is_file():
        return {}
    if owned_by_another_user(path):
        raise SettingsError(
            str(path),
            expected="a file of yours: who sets the settings runs code as you",
            got="one that another user has put into a folder that every user may write",
            remedy="Run the command in a folder of your own.",
        )
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            str(path), expected="a readable TOML file", got=str(error), remedy="Correct or remove the file."
        ) from error
    for name in content.keys() - FIELDS.keys():
        nearest = next(iter(difflib.get_close_matches(name, FIELDS, n=1)), "see docs/settings.md")
        raise SettingsError(
            f"setting '{name}' in {path}",
            expected="a known setting",
            got=f"'{name}'",
            remedy=f"Did you mean '{nearest}'?",
        )
    return {name: (value, f"file:{SETTINGS_FILE}") for name, value in content.items()}


def _rejected(error: ValidationError, merged: Mapping[str, tuple[Any, str]]) -> SettingsError:
    misfit = first_field_error(error)
    name = misfit.field.partition(".")[0]
    value, provenance = merged.get(name, (misfit.got, "default"))
    meaning = FIELDS[name].description if name in FIELDS else "a known setting"
    if name.endswith("_url") and "@" in str(value):
        # Where it fits no pattern, nobody knows where its password begins.
        value = f"{HIDDEN}@{str(value).rpartition('@')[2]}"
    return SettingsError(
        f"setting '{name}' ({provenance})",
        expected=f"{misfit.expected} ({meaning})",
        got=repr(value),
        remedy="docs/settings.md lists every setting with its default.",
    )
