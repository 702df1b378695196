"""Which runtime and precision is the fastest on this CPU, per model?

The dense and the sparse model in int8 (ONNX Runtime) and bf16 (OpenVINO), built anew, in bare loops over the same texts
on all cores, alternating. Processor seconds are compared too: others on the machine disturb them less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common.bare_loop import CORES, Loop, bare_loop
from benchmarks.peers.run import machine
from benchmarks.sparse_throughput.run import make_texts
from embedder_assets.serving.models.description import Precision, load_description
from embedder_assets.serving.tune import repository_in
from embedder_assets.settings import Settings, load_settings

# Precision and texts in one call.
SIDES: tuple[tuple[Precision, int], ...] = (("int8", 1), ("bf16", 1), ("bf16", 8))


def main() -> None:
    """Prints a table per model."""
    args = parse_args()
    settings, texts = load_settings(), make_texts()
    print(f"{machine()}; {len(texts)} texts of about 180 tokens, {args.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        for model in (*settings.dense_models, settings.sparse_model):
            show(model, measured(loops_of(settings, model, Path(scratch) / model), texts, args.rounds), len(texts))


def loops_of(settings: Settings, model: str, scratch: Path) -> dict[str, Loop]:
    """Name of a side to its loop, the model loaded."""
    description = load_description(settings.model_repository / model)
    folders = {
        precision: repository_in(settings, description, precision, scratch / precision) / model
        for precision in dict.fromkeys(precision for precision, _ in SIDES)
    }
    return {
        f"{precision}, {batch} per call": bare_loop(
            folders[precision], threads=1, batch=batch, workers=CORES, bf16=precision == "bf16"
        )
        for precision, batch in SIDES
    }


def measured(loops: Mapping[str, Loop], texts: list[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and processor seconds of each round; the first one, which compiles kernels, does not count."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for round_ in range(rounds + 1):
        for name, loop in loops.items():
            started, used = time.perf_counter(), time.process_time()
            loop(texts)
            if round_:
                found[name].append((time.perf_counter() - started, time.process_time() - used))
    return found


def show(model: str, found: Mapping[str, list[tuple[float, float]]], texts: int) -> None:
    """Medians, and the range of the processor time."""
    print(f"\n| {model} | texts/s | processor ms per text (lowest to highest) |\n|---|---|---|")
    for name, rounds in found.items():
        rate = texts / statistics.median(seconds for seconds, _ in rounds)
        used = [1000 * processor / texts for _, processor in rounds]
        print(
            f"| {name} | {rate:.1f} | {statistics.median(used):.1f} ({min(used):.1f} to {max(used):.1f}) |", flush=True
        )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="int8 in ONNX Runtime and bf16 in OpenVINO, side by side.")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
