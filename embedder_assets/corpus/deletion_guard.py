"""Stops a collection that loses too much at once: a lost mount looks like a folder whose files were deleted."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from embedder_assets.errors import CorpusError

# A share says nothing about few documents: up to as many may go, or be unusable, without a question.
FEW = 10
# With more of a collection unusable, something happened to all of it: an export that failed, or another format.
MAX_UNUSABLE_SHARE = 0.5


@dataclass(frozen=True)
class PendingDeletions:
    """What a collection would lose.

    Attributes:
        had: Documents in the table.
        gone: Rows of those that have no source any more; column doc_id.
        moved: How many of them are there under another id.
        left: Documents that the table will have, without them.
    """

    had: int
    gone: pl.DataFrame
    moved: int
    left: int

    @property
    def lost(self) -> int:
        """Documents whose content is gone."""
        return self.gone.height - self.moved


def check_deletions(collection: str, allowed: float, pending: PendingDeletions) -> None:
    """Raises when more documents are gone than may go without a question.

    Args:
        collection: Name of the collection.
        allowed: The largest share that may be lost; with 1 all may.
        pending: What would be deleted.

    Raises:
        CorpusError: Too many are gone.
    """
    lost, had = pending.lost, pending.had
    everything = pending.left == 0
    if allowed >= 1 or lost <= 0 or not (everything or (lost > FEW and lost / had > allowed)):
        return
    examples = ", ".join(pending.gone["doc_id"].sort()[:3])
    raise CorpusError(
        f"collection '{collection}'",
        expected="some of its documents to be left" if everything else f"at most {allowed:.0%} of its documents to go",
        got=f"{lost} of {had} gone at once, for example {examples}",
        remedy="Nothing was written. Check that the folder is the right one and that all of it is mounted. If the "
        "documents were deleted on purpose, run once with `embedder run --accept-loss` (EMBEDDER_MAX_LOST_SHARE=1).",
    )


def check_unusable(collection: str, issues: pl.DataFrame, usable: int) -> None:
    """Raises when too many documents of a collection cannot be used.

    Args:
        collection: Name of the collection.
        issues: Rows of ``document_issues`` that are each about one document.
        usable: Documents that can be used as they are now.

    Raises:
        CorpusError: Too many cannot be used.
    """
    bad = issues.height
    if bad <= FEW or bad / (bad + usable) <= MAX_UNUSABLE_SHARE:
        return
    first = issues.row(0, named=True)
    raise CorpusError(
        f"collection '{collection}'",
        expected=f"at most {MAX_UNUSABLE_SHARE:.0%} of its documents to be unusable",
        got=f"{bad} of {bad + usable}, for example {first['path']}: {first['message'].removesuffix('.')}",
        remedy="The documents in the tables are as they were. The table document_issues names every one; correct them, "
        "or move them out of the collection.",
    )
