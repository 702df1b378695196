"""The meter of a stage, and the record that it makes."""

import time

import pytest

from embedder_assets.telemetry.stage_record import StageMeter
from tests.support.factories import make_meter


def test_meter_keeps_batches_and_largest_size():
    meter = StageMeter("dense", ["kb"])
    for latency_s, size in [(0.5, 3), (0.25, 64), (0.75, 1)]:
        meter.batch(latency_s, size)
    record = meter.record()
    assert (record.batch_latencies_s, record.batch_size) == ([0.5, 0.25, 0.75], 64)
    assert (record.status, record.reason, record.items) == ("ok", None, {})
    assert record.started_at <= record.ended_at


@pytest.mark.parametrize("days", [-30, 30])
def test_stage_duration_ignores_clock_changes(monkeypatch, days):
    meter = make_meter()
    meter.count("computed", 3)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 24 * 3600)
    record = meter.record()
    assert 0 <= record.latency_s < 60
    assert meter.rate > 0


def test_the_meter_adds_up_items_by_outcome():
    meter = StageMeter("dense", ["kb"])
    for outcome, items in [("computed", 3), ("reused", 5), ("computed", 4)]:
        meter.count(outcome, items)
    assert meter.record().items == {"computed": 7, "reused": 5}
    assert meter.rate > 0


def test_a_record_does_not_change_with_its_meter():
    meter = StageMeter("dense", ["kb"])
    record = meter.record()
    meter.batch(1.0, 1)
    meter.cover("kb", 1.0)
    assert (record.batch_latencies_s, record.items, record.coverage) == ([], {}, {})


def test_meter_keeps_highest_gpu_memory_per_device():
    meter = StageMeter("dense", [])
    for reading in ({"a": 3, "b": 1}, {"a": 2}, {"a": 1, "b": 9}):
        meter.record_gpu_memory(reading)
    assert meter.record().gpu_peak_bytes == {"a": 3, "b": 9}
