"""The limit of the machine: ONNX Runtime in a loop over rows that are in memory, with nothing around it.

Its model is loaded already, and it throws the answers away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from embedder_assets.serving.models.onnx.cpu_session import open_session

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
        folder: A model's, with ``tokenizer.json`` and ``1/model.onnx``.
        rows: Texts or pairs, as the model takes them.
    """
    some = rows[:: max(1, len(rows) // TRIED)]
    loops = {name: bare_loop(folder, *variant) for name, variant in VARIANTS.items()}
    # By processor seconds, alternating, the best of each: others on the machine must not choose.
    rounds = [{name: _processor_seconds(partial(loop, some)) for name, loop in loops.items()} for _ in range(TRIES)]
    best = min(loops, key=lambda name: min(each[name] for each in rounds))
    return best, loops[best]


def bare_loop(folder: Path, threads: int, batch: int, workers: int) -> Loop:
    """One variant; the longest rows come first, so that what remains at the end is short."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    session = open_session(folder / "1" / "model.onnx", threads)

    def run(rows: Rows) -> None:
        encodings = sorted(tokenizer.encode_batch(list(rows)), key=len, reverse=True)
        batches = [encodings[start : start + batch] for start in range(0, len(encodings), batch)]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda rows: session.run(None, _feeds(rows)), batches))

    return run


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
