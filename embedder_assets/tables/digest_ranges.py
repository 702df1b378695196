"""The digest of what a result is made from, and ranges of digests.

Ranges split a collection by the digest of its rows' text, so that no stage has to hold all of it.

SHA-256 is uniform, so equal ranges of its first digits hold about as many rows each, and rows of equal text are always
in one of them. The tables that are walked this way are written in the order of the digest: reading a range reads little
else, because Parquet keeps the smallest and the largest value of each row group.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

COLUMN = "content_sha256"
# Rows of a range, about: a unit vector of 384 float32 and a text per row make some 80 MB of them.
BLOCK_ROWS = 32_768
_DIGITS = 4
MAX_RANGES = 16**_DIGITS
# Follows every hexadecimal digit.
_END = "g"


@dataclass(frozen=True)
class DigestRange:
    """The digests from ``low`` on and before ``high``, hexadecimal and in lower case."""

    low: str
    high: str

    @property
    def rows(self) -> pl.Expr:
        """Whether a row of a table is in the range."""
        return (pl.col(COLUMN) >= self.low) & (pl.col(COLUMN) < self.high)

    def within(self, other: DigestRange) -> DigestRange | None:
        """What is in both; None where that is nothing."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return DigestRange(low, high) if low < high else None

    def overlaps(self, low: str, high: str) -> bool:
        """Whether the range may hold one of some digests, given the smallest and the largest."""
        return low < self.high and high >= self.low


FULL_RANGE = DigestRange("", _END)


def digest_ranges(rows: int) -> list[DigestRange]:
    """Ranges in ascending order that hold about ``BLOCK_ROWS`` of ``rows`` rows each; one for few rows."""
    return equal_ranges(min(max(1, math.ceil(rows / BLOCK_ROWS)), MAX_RANGES))


def equal_ranges(count: int) -> list[DigestRange]:
    """So many ranges in ascending order, ``MAX_RANGES`` at most, that hold all digests, about as many each."""
    bounds = [f"{position * MAX_RANGES // count:0{_DIGITS}x}" for position in range(count)] + [_END]
    bounds[0] = ""
    return [DigestRange(low, high) for low, high in itertools.pairwise(bounds)]


def input_digest(parts: Iterable[str]) -> str:
    """SHA-256 in hex over texts in their order: while it stays the same, nothing is computed again.

    The texts are taken one after the other.
    """
    digest = hashlib.sha256()
    for position, part in enumerate(parts):
        digest.update((f"\x1e{part}" if position else part).encode())
    return digest.hexdigest()
