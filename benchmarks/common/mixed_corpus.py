"""A collection for measurements of speed: documents of several judged collections, one Markdown file each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

from benchmarks.common.judged_collections import COLLECTIONS
from embedder_assets.settings import PROJECT_ROOT

NAMES = ("medline", "cranfield", "squad_dev")
QUERIES = "queries.jsonl"


def write_mixed_corpus(folder: Path, documents: int, *, queries: bool = False) -> str:
    """Fills a collection's folder, of the sample corpus where the judged collections are absent.

    Args:
        folder: The collection's.
        documents: How many at most.
        queries: Whether it gets the queries of the judged collections too, without their judgements.

    Returns:
        What it holds, in words.
    """
    folder.mkdir(parents=True)
    written = 0
    for name, text in islice(_documents(), documents):
        (folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.md").write_text(text, "utf-8")
        written += 1
    if queries and _present():
        lines = [json.dumps({"_id": name, "text": text}) for name, text in _queries()]
        (folder / QUERIES).write_text("\n".join(lines) + "\n", "utf-8")
    return f"{written} documents of {', '.join(_present()) or 'the sample corpus'}"


def _present() -> list[str]:
    return [name for name in NAMES if (COLLECTIONS / name / "corpus.jsonl").exists()]


def _documents() -> Iterator[tuple[str, str]]:
    # Alternating, so that a small number of documents is a mixture too.
    for group in zip_longest(*(_rows(COLLECTIONS / name / "corpus.jsonl") for name in _present())):
        for name, row in zip(_present(), group, strict=True):
            if row is not None:
                title = f"# {row['title']}\n\n" if row.get("title") else ""
                yield f"{name}-{row['_id']}", f"{title}{row['text']}\n"
    if not _present():
        corpus = PROJECT_ROOT / "examples" / "corpus"
        for path in sorted(corpus.rglob("*.md")):
            yield str(path.relative_to(corpus).with_suffix("")), path.read_text("utf-8")


def _queries() -> Iterator[tuple[str, str]]:
    # Those of squad_dev would be thousands.
    for name in _present()[:2]:
        for row in _rows(COLLECTIONS / name / QUERIES):
            yield f"{name}-{row['_id']}", row["text"]


def _rows(file: Path) -> Iterator[dict[str, str]]:
    for line in file.read_text("utf-8").splitlines():
        yield json.loads(line)
