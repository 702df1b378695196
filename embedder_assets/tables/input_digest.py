"""The digest of what a result is computed from: while it stays the same, nothing is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def input_digest(parts: Iterable[str]) -> str:
    """SHA-256 in hex over texts in their order, which are taken one after the other."""
    digest = hashlib.sha256()
    for position, part in enumerate(parts):
        digest.update((f"\x1e{part}" if position else part).encode())
    return digest.hexdigest()
