"""Sends 10,000 damaged documents (N=n) of a seed (SEED=n) through extraction and cutting (KEEP=folder).

Damaged documents go through the stages that read what others wrote: extraction, the tables of documents and issues,
and cutting. Each document has to be in one of the two tables, none may hang, crash the process that reads it, or end
the stage. ``KEEP`` names a folder for the batches that did something of that kind.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import polars as pl

from embedder_assets.chunking.stage import ChunkStage
from embedder_assets.corpus import deletion_guard
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.extract import limits
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.corpus.partial_documents import PARTIAL
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.store import TableStore
from tests.fuzz.mutate import document, line
from tests.fuzz.seeds import SEEDS
from tests.support.checkpoints import write_tokenizer
from tests.support.factories import make_meter

BATCH = 250
TIMEOUT_S = 15
# Of documents that are small: one that takes more is refused before it is slow.
STEPS = 200_000
# A document of the fuzzer is small: a second each is a hang.
BATCH_S = BATCH * 1.0
NEVER = {"crashed", "timed_out", "out_of_memory"}
FORMATS = [*SEEDS, ".jsonl"]


@dataclass
class Batch:
    """What came of some documents.

    Attributes:
        outcomes: Documents by kind of issue, or ``taken``.
        findings: What should not have happened, one sentence each.
    """

    number: int
    suffix: str
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def main() -> None:
    """Runs the fuzzer, prints what came of it, and exits with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the batches with findings")
    chosen = parser.parse_args()
    total: dict[str, Counter[str]] = {suffix: Counter() for suffix in FORMATS}
    findings, started = [], time.monotonic()
    for batch in fuzz(chosen.documents, chosen.seed, chosen.keep):
        total[batch.suffix] += batch.outcomes
        findings += [f"batch {batch.number} ({batch.suffix}): {each}" for each in batch.findings]
        print(f"{batch.number:4} {batch.suffix:6} {batch.seconds:6.1f} s  {dict(batch.outcomes)}", flush=True)
    for suffix, outcomes in total.items():
        print(f"{suffix:6} {outcomes.total():6}  {dict(outcomes.most_common())}")
    print(
        f"{sum(map(Counter.total, total.values()))} documents, seed {chosen.seed}, {time.monotonic() - started:.0f} s"
    )
    print("\n".join(findings) or "nothing found")
    sys.exit(1 if findings else 0)


def fuzz(documents: int, seed: int, keep: Path | None = None, size: int = BATCH) -> Iterator[Batch]:
    """Batches of damaged documents, one format after the other."""
    for number in range((documents + size - 1) // size):
        batch = Batch(number, FORMATS[number % len(FORMATS)])
        chance = random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
            corpus = Path(root) / "corpus" / "kb"
            corpus.mkdir(parents=True)
            written = _write(corpus, batch.suffix, chance, min(size, documents - number * size))
            _read(Path(root), corpus, written, batch)
            if keep and batch.findings:
                shutil.copytree(corpus, keep / f"batch-{number}", dirs_exist_ok=True)
        yield batch


def _write(corpus: Path, suffix: str, chance: random.Random, count: int) -> set[str]:
    """Writes a batch; returns the names of its documents, for lines the places."""
    if suffix == ".jsonl":
        (corpus / "corpus.jsonl").write_bytes(b"".join(line(chance) + b"\n" for _ in range(count)))
        return {f"corpus.jsonl:{number}" for number in range(1, count + 1)}
    names = {f"{number:05}{suffix}" for number in range(count)}
    for name in sorted(names):
        (corpus / name).write_bytes(document(chance, suffix))
    return names


def _read(root: Path, corpus: Path, written: set[str], batch: Batch) -> None:
    given = {"home": root / "home", "document_timeout_s": TIMEOUT_S}
    settings = load_settings({name: (value, "fuzz") for name, value in given.items()}, environ={}, directory=root)
    started = time.monotonic()
    try:
        with patch.object(limits, "MAX_MARKDOWN_STEPS", STEPS), patch.object(deletion_guard, "MAX_UNUSABLE_SHARE", 1):
            Ingest(TableStore(settings.home), settings, Collection("kb", corpus, recursive=True)).run()
        _cut(settings, root / "tokenizer.json")
    except Exception:
        batch.findings.append(f"the stage ended: {traceback.format_exc()}")
        return
    batch.seconds = time.monotonic() - started
    if batch.seconds > BATCH_S:
        batch.findings.append(f"took {batch.seconds:.0f} seconds")
    _account(TableStore(settings.home), written, batch)


def _cut(settings: Settings, tokenizer: Path) -> None:
    write_tokenizer(tokenizer)
    ChunkStage(TableStore(settings.home), tokenizer, 32).run("kb", make_meter("chunk"))


def _account(store: TableStore, written: set[str], batch: Batch) -> None:
    taken = set(store.read("documents", "kb")["doc_id"])
    issues = store.read("document_issues", "kb").filter(pl.col("kind") != PARTIAL)  # of documents that are taken
    batch.outcomes = Counter({"taken": len(taken), **Counter(issues["kind"])})
    for path, kind, message in issues.select("path", "kind", "message").iter_rows():
        if kind in NEVER:
            batch.findings.append(f"{path}: {kind}: {message}")
    if batch.suffix == ".jsonl":
        # An id may be anything, so lines are counted.
        lost = len(written) - len(taken) - issues.height
    else:
        lost = len(written ^ (taken | set(issues["path"])))
    if lost:
        batch.findings.append(f"{lost} documents are in neither table, or in both")
    chunks = store.read("chunks", "kb", ["doc_id"])
    if set(chunks["doc_id"]) - taken:
        batch.findings.append("chunks without a document")


if __name__ == "__main__":
    main()
