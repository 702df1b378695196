"""The digest of what a result is computed from: while it stays the same, nothing is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def input_digest(parts: Iterable[str]) -> str:
    """SHA-256 in hex over texts in their order."""
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()
