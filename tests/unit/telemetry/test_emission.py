"""What a scrape has shown counts as emitted, and nothing else does."""

import re
import socket

import pytest

from embedder_assets.errors import TelemetryError
from embedder_assets.telemetry import emission as endpoint
from embedder_assets.telemetry.emission import EmissionStatus, verify_emission
from embedder_assets.telemetry.exporter.collector import run_collector
from embedder_assets.telemetry.exporter.metrics import LATENCY_METRICS, StageMetrics
from embedder_assets.telemetry.exporter.server import serve_metrics
from tests.support.factories import make_record, make_settings
from tests.support.processes import free_port
from tests.support.stage_records import ALL_STAGES, OFF, RUN_ID, with_off


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, metrics_port=free_port())


def test_samples_that_a_scrape_has_shown_are_emitted(settings):
    assert verify_emission(settings, RUN_ID, ALL_STAGES) == {
        stage: EmissionStatus(status="emitted", metric=metric, samples=2, scrape="complete")
        for stage, metric in LATENCY_METRICS.items()
    }


@pytest.mark.parametrize(("times", "seen"), [(0, 0), (2, 4)])
def test_wrong_sample_count_is_not_emitted(settings, monkeypatch, times, seen):
    observe = StageMetrics.observe
    monkeypatch.setattr(StageMetrics, "observe", lambda self, record: [observe(self, record) for _ in range(times)])
    for status in verify_emission(settings, RUN_ID, ALL_STAGES).values():
        assert (status.status, status.reason) == ("skipped", f"the scrape showed {seen} of 2 samples")


def test_each_emission_counts_only_its_own_run(settings):
    verify_emission(settings, RUN_ID, ALL_STAGES)
    assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].samples == 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (OFF, "disabled via cli:--disable-rerank"),
        (make_record("rerank", "failed", reason="InferenceError: no"), "the stage failed"),
        (make_record("rerank"), "up to date, nothing to compute"),
    ],
)
def test_a_stage_without_samples_says_why(settings, record, reason):
    statuses = verify_emission(settings, RUN_ID, with_off(record))
    metric = "rag_rerank_latency_seconds"
    assert statuses["rerank"] == EmissionStatus(status="skipped", metric=metric, reason=reason)
    assert statuses["dense"].status == "emitted"


def test_failed_stage_still_emits_its_samples(settings):
    record = make_record("dense", "failed", reason="x", batch_latencies_s=[0.1])
    assert verify_emission(settings, RUN_ID, [record])["dense"].status == "emitted"


def test_unreached_stage_did_not_run(settings):
    statuses = verify_emission(settings, RUN_ID, [])
    assert {status.reason for status in statuses.values()} == {"the stage did not run"}


def test_disabled_metrics_open_no_endpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "serve_metrics", None)
    off = make_settings(tmp_path, "env:EMBEDDER_METRICS_ENABLED", metrics_enabled=False)
    statuses = verify_emission(off, RUN_ID, with_off(OFF))
    assert statuses["dense"].reason == "metrics disabled via env:EMBEDDER_METRICS_ENABLED"
    assert statuses["rerank"].reason == OFF.reason


def test_listening_exporter_is_asked_not_replaced(settings):
    with serve_metrics(run_collector(RUN_ID, ALL_STAGES[:2]), settings, long_running=True):
        statuses = verify_emission(settings, RUN_ID, ALL_STAGES)
    assert (statuses["dense"].status, statuses["dense"].scrape) == ("emitted", "complete")
    assert (statuses["rerank"].reason, statuses["rerank"].scrape) == ("the scrape showed 0 of 2 samples", "incomplete")


def test_an_exporter_of_another_instance_is_no_proof(settings):
    with serve_metrics(run_collector("another", ALL_STAGES), settings, long_running=True):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert (status.status, status.scrape) == ("skipped", "unreachable")
    assert "it follows another Dagster instance" in status.reason


def test_endpoint_of_another_run_is_awaited(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.3)
    with serve_metrics(run_collector("another", ALL_STAGES), settings, long_running=False):
        status = verify_emission(settings, RUN_ID, ALL_STAGES)["dense"]
    assert status.reason == (
        f"the endpoint could not be scraped: another run's endpoint stays at http://127.0.0.1:{settings.metrics_port}"
    )
    assert verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].status == "emitted"


def test_other_service_on_port_skips_with_reason(settings, monkeypatch):
    monkeypatch.setattr(endpoint, "SCRAPE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(endpoint, "BUSY_S", 0.1)
    with socket.create_server(("127.0.0.1", settings.metrics_port)):
        statuses = verify_emission(settings, RUN_ID, with_off(OFF))
    assert (statuses["dense"].status, statuses["dense"].scrape) == ("skipped", "unreachable")
    assert re.match(
        r"the endpoint could not be scraped: .* does not answer as our exporter: ", statuses["dense"].reason
    )
    assert statuses["rerank"].reason == OFF.reason


def test_foreign_address_skips_with_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "BUSY_S", 0.0)
    settings = make_settings(tmp_path, metrics_address="127.0.0.1", metrics_port=free_port())

    def refused(*_args, **_kwargs):
        raise TelemetryError("the endpoint", expected="a free port", got="none", remedy="None.")

    monkeypatch.setattr(endpoint, "serve_metrics", refused)
    assert "expected a free port" in verify_emission(settings, RUN_ID, ALL_STAGES)["dense"].reason


@pytest.mark.parametrize(
    ("stage", "latencies", "reason"),
    [
        ("rerank", [], "fallback: inference_failed"),
        ("sparse", [], "lexical fallback: inference_failed"),
        ("sparse", [0.1], "lexical fallback: inference_failed"),
    ],
)
def test_a_stage_that_fell_back_says_why(settings, stage, latencies, reason):
    record = make_record(
        stage, batch_latencies_s=latencies, fallback_used=True, fallback_reason="inference_failed", reason="kb: no"
    )
    statuses = verify_emission(settings, RUN_ID, with_off(record))
    assert (statuses[stage].status, statuses[stage].reason) == ("skipped", reason)
    assert statuses["dense"].status == "emitted"


def test_failed_reranker_still_emits_its_samples(settings):
    record = make_record("rerank", batch_latencies_s=[0.1], fallback_used=True, fallback_reason="inference_failed")
    assert verify_emission(settings, RUN_ID, [record])["rerank"].status == "emitted"
