"""How much faster is the sparse graph than the plain forward of transformers?

The plain way computes log(1 + relu(logit)) of every token and takes the maximum then, float32, in batches of 8, as the
SPLADE papers write it. Ours takes the maximum first and is int8, one text per call and one worker per core, as the
backend runs it. Both read the same texts on the same cores, alternating. Runs in the environment of ``make parity``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.onnx.cpu_session import open_session
from embedder_assets.serving.models.sources import fetch

PROJECT = Path(__file__).resolve().parents[2]
MODEL = PROJECT / "model_repository" / "sparse_splade"
TEXTS = 200
WORDS = 135  # about 180 tokens
BATCH = 8
ROUNDS = 3
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Prints the rates of each round and the median ratio."""
    texts = make_texts()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = fetch(load_description(MODEL).source, MODEL, Path(scratch))
        sides = {"ours": ours(texts), "transformers": plain(checkpoint.weights_folder, checkpoint.tokenizer, texts)}
        ratios = []
        for _ in range(ROUNDS):
            rates = {}
            for name, side in sides.items():
                started = time.perf_counter()
                side()
                rates[name] = len(texts) / (time.perf_counter() - started)
            ratios.append(rates["ours"] / rates["transformers"])
            print("  ".join(f"{name} {rate:.1f}/s" for name, rate in rates.items()), flush=True)
    print(f"ours / transformers: {statistics.median(ratios):.1f} (the issue asks for 5), {CORES} cores")


def make_texts() -> list[str]:
    """Texts of about 180 tokens from the sample corpus."""
    paths = sorted((PROJECT / "examples" / "corpus").rglob("*.md"))
    words = " ".join(path.read_text("utf-8") for path in paths).split()
    return [" ".join(words[start : start + WORDS]) for start in range(0, len(words) - WORDS, 30)][:TEXTS]


def ours(texts: list[str]) -> Callable[[], None]:
    """The graph that Triton serves."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    session = open_session(MODEL / "1" / "model.onnx")

    def answer(ids: list[int]) -> None:
        row = np.array([ids], np.int64)
        feeds = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        session.run(None, feeds)

    def run() -> None:
        with ThreadPoolExecutor(CORES) as workers:
            list(workers.map(answer, [encoding.ids for encoding in tokenizer.encode_batch(texts)]))

    run()
    return run


def plain(folder: Path, tokenizer_file: Path, texts: list[str]) -> Callable[[], None]:
    """AutoModelForMaskedLM, the activation before the maximum."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    torch.set_num_threads(CORES)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def run() -> None:
        for start in range(0, len(texts), BATCH):
            encodings = tokenizer.encode_batch(texts[start : start + BATCH])
            ids = torch.tensor([encoding.ids for encoding in encodings])
            mask = torch.tensor([encoding.attention_mask for encoding in encodings])
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=mask).logits
                (torch.log1p(torch.relu(logits)) * mask[..., None]).amax(1)

    run()
    return run


if __name__ == "__main__":
    main()
