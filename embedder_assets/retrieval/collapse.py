"""Shows what near-equal documents say once, the best of the passages, among those hits that a reader may see."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

import polars as pl

from embedder_assets.corpus.near_duplicates import group_members
from embedder_assets.tables.store import TableStore

# Of near-equal documents, passages that have this share of the shorter one's words in common say the same.
SAME_PASSAGE = 0.8
_WORD = re.compile(r"\w+")


def groups_in(store: TableStore, collection: str) -> pl.DataFrame:
    """Columns doc_id and group of the documents that have near-duplicates; a group is of one collection."""
    return group_members(store, collection).select(
        "doc_id", group=pl.concat_str(pl.lit(collection), "representative", separator="\x1f")
    )


@dataclass
class _Shown:
    """A hit of a group, and the documents whose passage it stands for."""

    row: int
    doc_id: str
    words: set[str]
    collapsed: set[str] = field(default_factory=set)


def collapsed(hits: pl.DataFrame, query: str) -> pl.DataFrame:
    """Hits without those of near-equal documents that say what a better one says; adds how many documents that are.

    A passage that has a word of the query which the better one lacks says something else: among invoices that differ in
    their number alone, the one that was asked for is found.
    """
    asked = _words(query)
    shown: dict[str, list[_Shown]] = defaultdict(list)
    kept: list[int] = []
    for row, (group, doc_id, text) in enumerate(hits.select("group", "doc_id", "text").iter_rows()):
        if group is not None:
            words = _words(text)
            same = (each for each in shown[group] if each.doc_id != doc_id and _says_the_same(words, each, asked))
            if (better := next(same, None)) is not None:
                better.collapsed.add(doc_id)
                continue
            shown[group].append(_Shown(row, doc_id, words))
        kept.append(row)
    counts = {each.row: len(each.collapsed) for group in shown.values() for each in group}
    return hits[kept].with_columns(near_duplicates=pl.Series([counts.get(row, 0) for row in kept], dtype=pl.Int32))


def _says_the_same(words: set[str], better: _Shown, asked: set[str]) -> bool:
    if not asked & words <= better.words:
        return False
    return len(words & better.words) >= SAME_PASSAGE * min(len(words), len(better.words))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
