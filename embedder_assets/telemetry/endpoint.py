"""The metrics endpoint: serving a registry over HTTP, scraping it, and saying only what a scrape has shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict

from embedder_assets import loopback
from embedder_assets.errors import TelemetryError
from embedder_assets.settings import Settings
from embedder_assets.telemetry.metrics import LATENCY_METRICS, StageMetrics
from embedder_assets.telemetry.record import StageName, StageRecord

ADDRESS = "127.0.0.1"
SCRAPE_TIMEOUT_S = 5


class EmissionStatus(BaseModel):
    """Whether a stage's samples were seen in a scrape.

    Attributes:
        status: ``emitted`` only after a scrape has shown exactly this run's samples.
        metric: The stage's histogram.
        reason: Why it was skipped.
        samples: Samples of this run that the scrape has shown.
    """

    model_config = ConfigDict(frozen=True)

    status: str
    metric: str
    reason: str | None = None
    samples: int = 0


def emit(settings: Settings, records: Iterable[StageRecord]) -> dict[StageName, EmissionStatus]:
    """Serves the records' metrics, scrapes them over HTTP, and reports a status for each stage with a histogram."""
    by_stage = {record.stage: record for record in records}
    unseen = {stage: _reason_without_samples(settings, by_stage.get(stage)) for stage in LATENCY_METRICS}
    scraped: dict[str, float] = {}
    failure = None
    if any(reason is None for reason in unseen.values()):
        metrics = StageMetrics(CollectorRegistry())
        for record in by_stage.values():
            metrics.observe(record)
        try:
            with served(metrics.registry, settings.metrics_port) as url:
                scraped = scrape(url)
        except OSError as error:
            failure = f"the endpoint could not be scraped: {error}"
    return {stage: _status(stage, reason or failure, by_stage.get(stage), scraped) for stage, reason in unseen.items()}


@contextlib.contextmanager
def served(registry: CollectorRegistry, port: int, *, exactly: bool = False) -> Iterator[str]:
    """Serves a registry on 127.0.0.1 while the context lasts; on a free port if the given one is taken.

    Raises:
        TelemetryError: The port is taken and ``exactly`` it was asked for.
    """
    try:
        server, thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        if exactly:
            raise TelemetryError(
                f"the metrics endpoint on {ADDRESS}:{port}",
                expected="a free port",
                got=str(error),
                remedy="End what listens there (`ss -ltnp` names it), or set EMBEDDER_METRICS_PORT.",
            ) from error
        server, thread = start_http_server(0, ADDRESS, registry)
    try:
        yield f"http://{ADDRESS}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(url: str) -> dict[str, float]:
    """One HTTP scrape: the value of every sample without labels, by name."""
    with loopback.get(url, SCRAPE_TIMEOUT_S) as response:
        families = text_string_to_metric_families(response.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def _reason_without_samples(settings: Settings, record: StageRecord | None) -> str | None:
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


def _status(
    stage: StageName, reason: str | None, record: StageRecord | None, scraped: dict[str, float]
) -> EmissionStatus:
    metric = LATENCY_METRICS[stage]
    if reason is not None or record is None:
        return EmissionStatus(status="skipped", metric=metric, reason=reason)
    expected, seen = len(record.batch_latencies_s), int(scraped.get(f"{metric}_count", 0))
    if seen != expected:
        return EmissionStatus(
            status="skipped", metric=metric, reason=f"the scrape showed {seen} of {expected} samples", samples=seen
        )
    return EmissionStatus(status="emitted", metric=metric, samples=seen)
