"""The limit of a runtime: a model in a loop over rows that are in memory, with nothing around it.

The model is loaded already, and the answers are thrown away. int8 and float32 run in ONNX Runtime, bf16 in OpenVINO, as
the backend runs them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.onnx.cpu_session import open_session
from embedder_assets.serving.server.embedded import SERVING_FOLDER

CORES = len(os.sched_getaffinity(0))
# Threads inside an operator, texts per call, calls at a time.
VARIANTS = {
    f"batch 8, {CORES} operator threads": (CORES, 8, 1),
    f"batch 8, {CORES} workers": (1, 8, CORES),
    f"batch 1, {CORES} workers": (1, 1, CORES),
}
# Enough to tell the variants apart.
TRIED = 192
TRIES = 4
MAX_TOKENS = 256

Rows = Sequence[str] | Sequence[tuple[str, str]]
Loop = Callable[[Rows], None]


def fastest_loop(folder: Path, rows: Rows) -> tuple[str, Loop]:
    """The variant that is the fastest over some of the rows.

    Args:
        folder: A built model's.
        rows: Texts or pairs, as the model takes them.
    """
    some = rows[:: max(1, len(rows) // TRIED)]
    bf16 = load_description(folder).precision_on("cpu") == "bf16"
    # OpenVINO computes a call on one of its streams, whatever is asked for.
    variants = {name: each for name, each in VARIANTS.items() if not bf16 or each[0] == 1}
    loops = {name: bare_loop(folder, *variant, bf16=bf16) for name, variant in variants.items()}
    # By processor seconds, alternating, the best of each: others on the machine must not choose.
    rounds = [{name: _processor_seconds(partial(loop, some)) for name, loop in loops.items()} for _ in range(TRIES)]
    best = min(loops, key=lambda name: min(each[name] for each in rounds))
    return best, loops[best]


def bare_loop(folder: Path, threads: int, batch: int, workers: int, *, bf16: bool = False) -> Loop:
    """One variant; the longest rows come first, so that what remains at the end is short."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    call = _call(folder / "1" / "model.onnx", threads, workers, bf16=bf16)

    def run(rows: Rows) -> None:
        encodings = sorted(tokenizer.encode_batch(list(rows)), key=len, reverse=True)
        batches = [encodings[start : start + batch] for start in range(0, len(encodings), batch)]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda rows: call(_feeds(rows)), batches))

    return run


def _call(graph: Path, threads: int, workers: int, *, bf16: bool) -> Callable[[dict[str, Any]], object]:
    if not bf16:
        session = open_session(graph, threads)
        return lambda feeds: session.run(None, feeds)
    # The backend's own modules import each other as they do inside Triton.
    sys.path.append(str(SERVING_FOLDER / "backends" / "text_encoder"))
    from runtimes import open_runtime

    runtime = open_runtime(graph, "bf16", "CPU", workers)
    return lambda feeds: runtime.run([], feeds)


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _feeds(encodings: Sequence[Encoding]) -> dict[str, Any]:
    width = max(len(encoding) for encoding in encodings)
    feeds = {
        name: np.zeros((len(encodings), width), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, encoding in enumerate(encodings):
        feeds["input_ids"][row, : len(encoding)] = encoding.ids
        feeds["attention_mask"][row, : len(encoding)] = 1
        feeds["token_type_ids"][row, : len(encoding)] = encoding.type_ids
    return feeds
