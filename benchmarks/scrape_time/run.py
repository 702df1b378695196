"""How long does a scrape take with a year of daily runs in the event log?

The runs are real Dagster runs on a real (SQLite) instance; each leaves the records of six stages, with as many batches
as a collection of 12,800 chunks has. The exporter reads the log once when it starts, and at a scrape only what is new.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Iterator

import dagster as dg

from benchmarks.common.acceptance import outcome
from embedder_assets.settings import Settings, load_settings
from embedder_assets.telemetry.emission import scrape
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE, as_observation
from embedder_assets.telemetry.exporter.collector import event_log_collector
from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics
from embedder_assets.telemetry.stage_record import StageMeter

RUNS = 365
BATCHES = 200
COLLECTIONS = ["handbook", "tickets", "contracts"]
SCRAPES = 50
BOUND_MS = 100


@dg.op
def leave_records(context: dg.OpExecutionContext) -> Iterator[dg.AssetObservation | dg.Output[None]]:
    """What the stages of one run leave in the event log."""
    chance = random.Random(context.run_id)
    for stage in ASSET_OF_STAGE:
        meter = StageMeter(stage, COLLECTIONS)
        for _ in range(BATCHES):
            meter.batch(chance.lognormvariate(-0.5, 0.5), 64)
        meter.count("computed", 64 * BATCHES)
        for name in COLLECTIONS:
            meter.cover(name, 1.0)
        yield as_observation(meter.record())
    yield dg.Output(None)


@dg.job
def day() -> None:
    """One daily run."""
    leave_records()


def main() -> None:
    """Prints how long the exporter takes to start, and percentiles of its scrapes."""
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        settings = load_settings({"home": (home, "benchmark"), "metrics_port": (19464, "benchmark")})
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        for _ in range(RUNS):
            day.execute_in_process(instance=instance, run_config=quiet)
        started = time.perf_counter()
        collector = event_log_collector(instance)
        collector.catch_up()
        print(f"{RUNS} runs, {RUNS * len(ASSET_OF_STAGE)} records, {BATCHES} batches each")
        print(f"start of the exporter: {time.perf_counter() - started:.2f} s")
        with serve_metrics(collector, settings, long_running=True) as url:
            idle = [timed(url + METRICS_PATH, settings) for _ in range(SCRAPES)]
            after_a_run = []
            for _ in range(5):
                day.execute_in_process(instance=instance, run_config=quiet)
                after_a_run.append(timed(url + METRICS_PATH, settings))
    cuts = statistics.quantiles(idle, n=100)
    print(f"scrape: median {statistics.median(idle):.1f} ms, p95 {cuts[94]:.1f} ms, largest {max(idle):.1f} ms")
    new = f"median {statistics.median(after_a_run):.1f} ms, largest {max(after_a_run):.1f} ms"
    print(f"scrape that finds a new run: {new}")
    holds = max(*idle, *after_a_run) < BOUND_MS
    print(f"each under {BOUND_MS} ms: {outcome(holds)}")


def timed(url: str, settings: Settings) -> float:
    """Milliseconds of one scrape, all of its text parsed."""
    started = time.perf_counter()
    samples = scrape(url, settings)
    assert samples["rag_dense_latency_seconds_count"] >= RUNS * BATCHES
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
