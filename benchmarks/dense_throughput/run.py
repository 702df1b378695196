"""How much of a bare ONNX Runtime loop does the dense asset reach, end to end? Run with ``make bench``.

Both sides embed the same chunks with the same model file on the same cores, in turns. The asset's time is that of
its whole Dagster step: reading the table, starting Triton, loading the model, inference, writing and publishing. The
bare loop tokenizes and runs the session, its model already loaded, and throws the vectors away; of its variants the
fastest counts.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from tokenizers import Encoding, Tokenizer

from embedder_assets.definitions import defs
from embedder_assets.launch import QUIET
from embedder_assets.serving.cpu_session import open_session
from embedder_assets.settings import PROJECT_ROOT, load_settings
from embedder_assets.stages.corpus import discover_collections
from embedder_assets.tables.store import TableStore

MEDLINE = PROJECT_ROOT.parent / "shared" / "data" / "collections" / "medline"
ROUNDS = 3
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Prints one line a round and the median ratio."""
    corpus = MEDLINE if MEDLINE.exists() else PROJECT_ROOT / "examples" / "corpus"
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(EMBEDDER_HOME=home, EMBEDDER_CORPUS_DIR=str(corpus))
        settings = load_settings()
        store = TableStore(settings.home)
        collection = discover_collections(settings.corpus_dir)[0].name
        materialize(collection, "documents", "chunks")
        texts = store.read("chunks", collection, ["text"])["text"].to_list()
        loops = bare_loops(settings.model_repository / settings.dense_models[0])
        print(f"{len(texts)} chunks of {corpus.name}, {CORES} cores, median of {ROUNDS} rounds")
        ratios = [one_round(loops, texts, store, collection) for _ in range(ROUNDS)]
    print(f"asset / fastest bare loop: {statistics.median(ratios):.3f} (the issue asks for 0.85)")


def one_round(
    loops: dict[str, Callable[[Sequence[str]], None]], texts: Sequence[str], store: TableStore, collection: str
) -> float:
    """Runs every side once and returns the asset's share of the fastest bare loop."""
    rates = {}
    for name, loop in loops.items():
        started = time.perf_counter()
        loop(texts)
        rates[name] = len(texts) / (time.perf_counter() - started)
    store.replace("dense_embeddings", collection, store.read("dense_embeddings", collection).clear())
    seconds = materialize(collection, "dense_embeddings")
    computed = store.count("dense_embeddings", collection)
    assert computed == len(texts), f"{computed} rows of {len(texts)}"
    rates["asset"] = len(texts) / seconds
    print("  ".join(f"{name} {rate:.1f}/s" for name, rate in rates.items()), flush=True)
    return rates["asset"] / max(rate for name, rate in rates.items() if name != "asset")


def materialize(collection: str, *assets: str) -> float:
    """Materializes assets of one collection and returns the seconds of their steps."""
    result = defs.resolve_job_def("rag_tables").execute_in_process(
        partition_key=collection,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        run_config=QUIET,
        instance=dg.DagsterInstance.ephemeral(),
    )
    steps = [event for event in result.all_node_events if event.is_step_success and event.step_key in assets]
    return sum(event.step_success_data.duration_ms for event in steps) / 1000


def bare_loops(folder: Path) -> dict[str, Callable[[Sequence[str]], None]]:
    """The variants of the bare loop: a name and a function of texts."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()

    def loop(threads: int, batch: int, workers: int) -> Callable[[Sequence[str]], None]:
        session = open_session(folder / "1" / "model.onnx", threads)

        def run(texts: Sequence[str]) -> None:
            encodings = sorted(tokenizer.encode_batch(list(texts)), key=len, reverse=True)
            batches = [encodings[start : start + batch] for start in range(0, len(encodings), batch)]
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda rows: session.run(None, _feeds(rows)), batches))

        return run

    return {
        f"loop batch 8, {CORES} operator threads": loop(CORES, 8, 1),
        f"loop batch 8, {CORES} workers": loop(1, 8, CORES),
        f"loop batch 1, {CORES} workers": loop(1, 1, CORES),
    }


def _feeds(encodings: Sequence[Encoding]) -> dict[str, Any]:
    width = max(len(encoding) for encoding in encodings)
    feeds = {
        name: np.zeros((len(encodings), width), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, encoding in enumerate(encodings):
        feeds["input_ids"][row, : len(encoding)] = encoding.ids
        feeds["attention_mask"][row, : len(encoding)] = 1
    return feeds


if __name__ == "__main__":
    main()
