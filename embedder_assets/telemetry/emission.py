"""Has a scrape shown a run's samples? Asks the long-running exporter, or serves the run's own records for a moment.

Says ``emitted`` only after one HTTP scrape of ``/metrics`` has shown a stage's histogram and the endpoint has counted
exactly as many samples of this run as the stage recorded batches. An answer counts only with the proof that it comes
from an endpoint of this home.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.error
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict

from embedder_assets.errors import TelemetryError
from embedder_assets.network import loopback
from embedder_assets.settings import Settings
from embedder_assets.telemetry.exporter import endpoint_key
from embedder_assets.telemetry.exporter.collector import RunSamples, run_collector
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS
from embedder_assets.telemetry.exporter.server import (
    METRICS_PATH,
    RUNS_PATH,
    base_url,
    client_tls,
    request_headers,
    serve_metrics,
)
from embedder_assets.telemetry.stage_record import StageName, StageRecord

SCRAPE_TIMEOUT_S = 5
# Another run of this machine serves its own records on the same port, for less than a second.
BUSY_S = 5.0
RETRY_S = 0.1


class EmissionStatus(BaseModel):
    """Whether a stage's samples were seen in a scrape.

    Attributes:
        status: ``emitted`` only after a scrape has shown exactly this run's samples.
        metric: The stage's histogram.
        reason: Why it was skipped.
        samples: Samples of this run that the scrape has shown.
        scrape: ``not_expected`` when the stage has no samples to show, ``complete``, ``incomplete`` when the scrape
            did not show them all, ``unreachable`` when there was no scrape.
    """

    model_config = ConfigDict(frozen=True)

    status: Literal["emitted", "skipped"]
    metric: str
    reason: str | None = None
    samples: int = 0
    scrape: Literal["not_expected", "complete", "incomplete", "unreachable"] = "not_expected"


class _UnreachableError(Exception):
    """No scrape: why."""


def verify_emission(settings: Settings, run_id: str, records: Iterable[StageRecord]) -> dict[StageName, EmissionStatus]:
    """Looks for a run's samples in a scrape: the status of each stage that has a histogram."""
    by_stage = {record.stage: record for record in records}
    reasons = {stage: _reason_for_no_samples(settings, by_stage.get(stage)) for stage in LATENCY_METRICS}
    due = {stage: by_stage[stage] for stage, reason in reasons.items() if reason is None}
    shown: RunSamples = {}
    unreachable = None
    if due:
        try:
            shown = _scraped_samples(settings, run_id, list(by_stage.values()))
        except _UnreachableError as error:
            unreachable = f"the endpoint could not be scraped: {error}"
    return {
        stage: EmissionStatus(status="skipped", metric=LATENCY_METRICS[stage], reason=reason)
        if reason is not None
        else _status(due[stage], shown.get(stage, 0), unreachable)
        for stage, reason in reasons.items()
    }


def scrape(url: str, settings: Settings) -> dict[str, float]:
    """One HTTP scrape: the value of every sample without labels, by name."""
    return _samples(_read(url, settings)[0].decode())


def _scraped_samples(settings: Settings, run_id: str, records: Sequence[StageRecord]) -> RunSamples:
    """This run's samples by stage, as the exporter shows them, or the run's own endpoint where no exporter listens."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            return _scrape_run(settings, run_id)
        except ConnectionRefusedError:
            collector = run_collector(run_id, records)
            try:
                with serve_metrics(collector, settings, long_running=False):
                    return _scrape_run(settings, run_id)
            except (TelemetryError, _ForeignError, OSError, http.client.HTTPException) as error:
                reason = str(error)
        except _BusyError:
            reason = f"another run's endpoint stays at {base_url(settings)}"
        except TelemetryError as error:
            raise _UnreachableError(str(error)) from error
        except _ForeignError as error:
            raise _UnreachableError(_foreign(settings, error)) from error
        except (OSError, http.client.HTTPException) as error:
            # Another run's endpoint comes or goes, or the exporter could not read the event log just now.
            reason = _foreign(settings, error)
        if time.monotonic() > deadline:
            raise _UnreachableError(reason)
        time.sleep(RETRY_S)


def _foreign(settings: Settings, error: Exception) -> str:
    return f"{base_url(settings)} does not answer as our exporter: {error}"


class _BusyError(Exception):
    """Another run's own endpoint answers."""


class _ForeignError(Exception):
    """Something answers that is not an endpoint of this home: why that is sure."""


def _scrape_run(settings: Settings, run_id: str) -> RunSamples:
    """Scrapes ``/metrics``, then asks how many of the samples are this run's.

    Raises:
        OSError: Nobody answers, or an answer is incomplete.
        _ForeignError: The answer is not that of an endpoint of this home.
        TelemetryError: The exporter has never heard of this run.
    """
    base = base_url(settings)
    scraped = _samples(_proved(base, METRICS_PATH, settings))
    answer = json.loads(_proved(base, f"{RUNS_PATH}{run_id}", settings))
    if answer["samples"] is None:
        if not answer["long_running"]:
            raise _BusyError
        raise TelemetryError(
            f"the exporter at {base}",
            expected=f"samples of run {run_id}",
            got="none: it follows another Dagster instance",
            remedy="Start `embedder exporter` with this run's DAGSTER_HOME, or set EMBEDDER_METRICS_PORT.",
        )
    # What the endpoint counts for the run has to be in what Prometheus would have read.
    return {
        stage: min(int(answer["samples"].get(stage, 0)), int(scraped.get(f"{metric}_count", 0)))
        for stage, metric in LATENCY_METRICS.items()
    }


def _proved(base: str, path: str, settings: Settings) -> str:
    """What an endpoint of this home answers, and nobody else."""
    key, sent = endpoint_key.key_of(settings.home), endpoint_key.challenge()
    try:
        body, given = _read(base + path, settings, {endpoint_key.CHALLENGE_HEADER: sent})
    except urllib.error.HTTPError as error:
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            raise
        raise _ForeignError(str(error)) from error
    except http.client.BadStatusLine as error:
        if isinstance(error, OSError):  # closed before an answer
            raise
        raise _ForeignError(f"not HTTP: {error}") from error
    if endpoint_key.is_proof(given, key, sent, path, body):
        return body.decode()
    if given is not None and _is_short_lived(base, settings):
        raise _BusyError
    raise _ForeignError(
        "the answer lacks the proof that it is of this home. End what listens there (`ss -ltnp` names it; an "
        "exporter of another home has to have another port), or set EMBEDDER_METRICS_PORT"
    )


def _is_short_lived(base: str, settings: Settings) -> bool:
    """Whether what answers says that it is a run's own endpoint, of another home; trusted only to wait for it."""
    try:
        answer = json.loads(_read(f"{base}{RUNS_PATH}none", settings)[0])
    except (OSError, http.client.HTTPException, ValueError):
        return True  # it has ended meanwhile
    return isinstance(answer, dict) and answer.get("long_running") is False


class _UntrustedListenerError(OSError):
    """Another user listens, who would get the password, and could answer without an end."""


def _require_own_listener(url: str, settings: Settings) -> None:
    """Makes sure that who listens is this user, root or whose the home is."""
    asked = urlsplit(url)
    with contextlib.suppress(FileNotFoundError):
        ours = {0, os.geteuid(), settings.home.stat().st_uid}
        for user in loopback.owners_of_listener(str(asked.hostname), asked.port or 0) - ours:
            raise _UntrustedListenerError(f"user {user} of this machine listens there")


def _read(url: str, settings: Settings, headers: Mapping[str, str] | None = None) -> tuple[bytes, str | None]:
    """The body of an answer, and the proof that comes with it."""
    _require_own_listener(url, settings)
    sent = {**request_headers(settings), **(headers or {})}
    try:
        with loopback.get(url, SCRAPE_TIMEOUT_S, headers=sent, tls=client_tls(settings)) as response:
            body, proof = response.read(), response.headers.get(endpoint_key.PROOF_HEADER)
    except OSError as error:
        # urllib wraps what the socket said.
        reason = getattr(error, "reason", None)
        raise reason if isinstance(reason, ConnectionRefusedError) else error from error
    if not body and proof is None:
        # Of an endpoint that ends while it answers, only the first lines arrive, and http.client takes them for all.
        raise ConnectionAbortedError(
            "the answer is empty. Where another program listens there (`ss -ltnp` names it), end it or set "
            "EMBEDDER_METRICS_PORT"
        )
    return body, proof


def _samples(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def _reason_for_no_samples(settings: Settings, record: StageRecord | None) -> str | None:
    """Why a stage cannot have samples in a scrape, or None when it must have them."""
    if record is None:
        return "the stage did not run"
    if record.status == "off":
        return record.reason
    if not settings.metrics_enabled:
        return f"metrics disabled via {settings.provenance('metrics_enabled')}"
    if record.fallback_used and (record.stage == "sparse" or not record.batch_latencies_s):
        return f"{'lexical ' if record.stage == 'sparse' else ''}fallback: {record.fallback_reason}"
    if not record.batch_latencies_s:
        return "up to date, nothing to compute" if record.status == "ok" else "the stage failed"
    return None


def _status(record: StageRecord, seen: int, unreachable: str | None) -> EmissionStatus:
    metric, expected = LATENCY_METRICS[record.stage], len(record.batch_latencies_s)
    if unreachable is not None:
        return EmissionStatus(status="skipped", metric=metric, reason=unreachable, scrape="unreachable")
    if seen != expected:
        reason = f"the scrape showed {seen} of {expected} samples"
        return EmissionStatus(status="skipped", metric=metric, reason=reason, samples=seen, scrape="incomplete")
    return EmissionStatus(status="emitted", metric=metric, samples=seen, scrape="complete")
