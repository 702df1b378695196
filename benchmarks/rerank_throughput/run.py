"""How many pairs per second does the reranker score?

Distinct pairs of a query of 10 words and a passage of exactly 180 tokens, through the embedded Triton by the client
that the stage uses; alternating with a bare ONNX Runtime loop over the same pairs, and with the 6-layer encoder of the
dense model at the same lengths, which is what a usual 6-layer cross-encoder costs.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

from benchmarks.common.bare_loop import CORES, Loop, bare_loop
from embedder_assets.corpus.collections import discover_collections
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import PROJECT_ROOT, Settings, load_settings

PASSAGE_TOKENS = 180
QUERY_WORDS = 10
PAIRS = 512
ROUNDS = 5


def main() -> None:
    """Prints one line per round and the median rates and ratios."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"home": (home, "benchmark")})
        pairs = make_pairs(settings)
        session = TritonSession(settings)
        try:
            sides: dict[str, Callable[[], None]] = {
                "Triton": lambda: score(session, settings, pairs),
                "bare loop": partial(loop_of(settings, settings.rerank_model), pairs),
                "6-layer encoder": partial(loop_of(settings, settings.dense_models[0]), pairs),
            }
            rates: dict[str, list[float]] = {name: [] for name in sides}
            for side in sides.values():
                side()
            for _ in range(ROUNDS):
                for name, side in sides.items():
                    started = time.perf_counter()
                    side()
                    rates[name].append(len(pairs) / (time.perf_counter() - started))
                print("  ".join(f"{name} {found[-1]:.0f}/s" for name, found in rates.items()), flush=True)
        finally:
            session.close()
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{len(pairs)} pairs, {CORES} cores, median of {ROUNDS} rounds: Triton {medians['Triton']:.0f} pairs/s")
    for name in ("bare loop", "6-layer encoder"):
        print(f"Triton / {name}: {medians['Triton'] / medians[name]:.2f}")


def make_pairs(settings: Settings) -> list[tuple[str, str]]:
    """Distinct pairs from the sample corpus."""
    from tokenizers import Tokenizer

    folder = settings.model_repository / settings.rerank_model
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    roots = [collection.root for collection in discover_collections(PROJECT_ROOT / "examples" / "corpus")]
    text = "\n".join(path.read_text("utf-8") for root in roots for path in sorted(root.rglob("*.md")))
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    passages = [
        text[offsets[start][0] : offsets[start + PASSAGE_TOKENS - 1][1]]
        for start in range(0, len(offsets) - PASSAGE_TOKENS, 40)
    ]
    words = text.split()
    queries = (" ".join(words[start : start + QUERY_WORDS]) for start in itertools.count(0, QUERY_WORDS))
    return list(zip(itertools.islice(queries, PAIRS), itertools.cycle(passages), strict=False))


def score(session: TritonSession, settings: Settings, pairs: list[tuple[str, str]]) -> None:
    """Scores the pairs as the stage does."""
    size = settings.request_batch_size
    requests = (pairs[start : start + size] for start in range(0, len(pairs), size))
    scored = sum(len(answer.outputs["score"]) for answer in session.infer_many(settings.rerank_model, requests))
    assert scored == len(pairs)


def loop_of(settings: Settings, model: str) -> Loop:
    """One session, one pair per call, a worker per core."""
    return bare_loop(settings.model_repository / model, threads=1, batch=1, workers=CORES)


if __name__ == "__main__":
    main()
