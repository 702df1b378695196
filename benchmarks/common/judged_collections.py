"""Copies the judged collections of ../shared/data into a corpus folder."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from embedder_assets.settings import PROJECT_ROOT

COLLECTIONS = PROJECT_ROOT.parent / "shared" / "data" / "collections"
NAMES = ("cranfield", "medline", "squad_dev", "liveqa_med")
FILES = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
# Collection to (queries kept, seed): the others are taken whole.
SAMPLED = {"squad_dev": (500, 500)}


def prepare(target: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Copies collections into a corpus folder; of ``SAMPLED`` ones a fixed sample of the queries.

    Raises:
        SystemExit: The collections are not there.
    """
    for name in names:
        source = COLLECTIONS / name
        if not source.is_dir():
            raise SystemExit(f"{source} is not there: this benchmark needs the judged collections of ../shared/data")
        (target / name).mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(source / file, target / name / file)
        if name in SAMPLED:
            sample(target / name, *SAMPLED[name])
    return target


def sample(folder: Path, count: int, seed: int) -> None:
    """Keeps a fixed sample of the queries with their judgements; all documents stay."""
    queries, qrels = folder / "queries.jsonl", folder / "qrels.tsv"
    rows = sorted(queries.read_text("utf-8").splitlines(), key=lambda line: str(json.loads(line)["_id"]))
    kept = random.Random(seed).sample(rows, count)
    ids = {json.loads(line)["_id"] for line in kept}
    header, *judgements = qrels.read_text("utf-8").splitlines()
    queries.write_text("\n".join(kept) + "\n", "utf-8")
    lines = [line for line in judgements if line.split("\t")[0] in ids]
    qrels.write_text("\n".join([header, *lines]) + "\n", "utf-8")
