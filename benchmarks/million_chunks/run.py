"""Does memory grow with the collection, and does the rate fall?

One ``embedder run`` over synthetic documents of one chunk each, from nothing to the exports. A real Triton serves
models that compute next to nothing, so all that is measured is ours. The rate is read from Triton's own counters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common.acceptance import outcome
from benchmarks.common.stub_models import triton_with_stub_models
from embedder_assets.tables.store import TableStore

BOUND_MB = 2000
BOUND_RATE = 0.15
WORDS_PER_DOCUMENT = 40
QUERIES = 100
POLL_S = 0.2
COLLECTION = "synthetic"

# Model to (seconds, texts answered so far), one a look.
Timeline = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Prints the stages' rates, the run's peak memory, and whether both bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000)
    chunks = parser.parse_args().chunks
    with tempfile.TemporaryDirectory() as scratch, triton_with_stub_models(Path(scratch) / "triton") as server:
        corpus = write_corpus(Path(scratch) / "corpus", chunks)
        assert server.address.metrics_url is not None
        peak_mb, seconds, timeline = observed_run(
            Path(scratch), corpus, server.address.grpc, server.address.metrics_url
        )
        report_tables(Path(scratch) / "home", chunks)
    print(f"{chunks} chunks in {seconds:.0f} s, from documents to exports")
    steady = True
    for model, looks in sorted(timeline.items()):
        first, last = tenth(looks, chunks, 0), tenth(looks, chunks, 9)
        if first and last:
            steady = steady and abs(last / first - 1) <= BOUND_RATE
            print(f"{model}: first tenth {first:.0f} texts/s, last tenth {last:.0f} texts/s ({last / first - 1:+.1%})")
    print(f"peak memory of the run: {peak_mb} MB; at most {BOUND_MB} MB: {outcome(peak_mb <= BOUND_MB)}")
    print(f"rate of the last tenth within {BOUND_RATE:.0%} of the first: {outcome(steady)}")


def write_corpus(folder: Path, documents: int) -> Path:
    """One BEIR collection of some documents, each of its own words, and a few queries."""
    chance = random.Random(0)
    words = [f"{chance.choice('bcdfglmnprst')}{chance.choice('aeiou')}{number:x}" for number in range(20_000)]
    root = folder / COLLECTION
    root.mkdir(parents=True)
    with (root / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = " ".join(chance.choices(words, k=WORDS_PER_DOCUMENT))
            file.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
    with (root / "queries.jsonl").open("w", encoding="utf-8") as file:
        for number in range(QUERIES):
            file.write(json.dumps({"_id": f"q{number}", "text": " ".join(chance.choices(words, k=5))}) + "\n")
    return folder


def observed_run(scratch: Path, corpus: Path, url: str, metrics_url: str) -> tuple[int, float, Timeline]:
    """Peak memory in MB, seconds, and what Triton counted, of one run."""
    environment = {
        **os.environ,
        "EMBEDDER_HOME": str(scratch / "home"),
        "EMBEDDER_TRITON_URL": url,
        "EMBEDDER_REQUEST_BATCH_SIZE": "256",
    }
    command = [str(Path(sys.executable).parent / "embedder"), "run", "--corpus", str(corpus)]
    timeline: Timeline = defaultdict(list)
    peak_kb, phase = 0, ""
    started = time.monotonic()
    with (
        (scratch / "run.log").open("w+") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as run,
    ):
        while run.poll() is None:
            peak_kb = max(peak_kb, high_water_kb(run.pid))
            for model, count in counted(metrics_url).items():
                timeline[model].append((time.monotonic() - started, count))
            reached = tables_of(scratch / "home")
            if reached != phase:
                phase = reached
                print(f"{time.monotonic() - started:6.0f} s  peak {peak_kb // 1024} MB  {phase}", flush=True)
            time.sleep(POLL_S)
        if run.returncode:
            log.seek(0)
            raise SystemExit(f"the run failed:\n{log.read()[-4000:]}")
    return peak_kb // 1024, time.monotonic() - started, timeline


def high_water_kb(pid: int) -> int:
    """The largest resident memory that a process has had."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def counted(metrics_url: str) -> dict[str, float]:
    """Model to texts that Triton has answered."""
    with urllib.request.urlopen(metrics_url, timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {
        sample.labels["model"]: sample.value
        for family in families
        if family.name == "nv_inference_count"
        for sample in family.samples
    }


def tables_of(home: Path) -> str:
    """The tables that are there, to tell how far the run is."""
    return " ".join(sorted(path.name for path in (home / "tables").glob("*"))) if (home / "tables").exists() else ""


def report_tables(home: Path, chunks: int) -> None:
    """Checks that the run has done all of it."""
    store = TableStore(home)
    for table in ("documents", "chunks", "dense_embeddings", "sparse_embeddings"):
        found = store.count(table, COLLECTION)
        assert found == chunks, f"{table}: {found} rows instead of {chunks}"
    assert store.count("reranked_candidates", COLLECTION)


def tenth(looks: list[tuple[float, float]], total: int, number: int) -> float | None:
    """Texts per second while a tenth of all texts was computed, 0 the first; None where nothing was seen of it."""
    start, end = reached(looks, total * number / 10), reached(looks, total * (number + 1) / 10)
    return None if start is None or end is None or end <= start else total / 10 / (end - start)


def reached(looks: list[tuple[float, float]], count: float) -> float | None:
    """Seconds at which a count was reached, on a line between two looks; the first look stands for a count of 0."""
    looks = [(looks[0][0], 0.0), *looks[1:]]
    for (before, low), (after, high) in itertools.pairwise(looks):
        if low <= count <= high and high > low:
            return before + (after - before) * (count - low) / (high - low)
    return None


if __name__ == "__main__":
    main()
