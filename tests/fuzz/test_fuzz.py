"""A short run of the fuzzer. ``make soak NAME=fuzz`` does ten thousand documents."""

from __future__ import annotations

from tests.fuzz.run import FORMATS, fuzz

BATCH = 40


def test_no_damaged_document_hangs_crashes_or_is_lost() -> None:
    batches = list(fuzz(BATCH * len(FORMATS), seed=7, size=BATCH))
    assert [finding for batch in batches for finding in batch.findings] == []
    assert sum(batch.outcomes.total() for batch in batches) == BATCH * len(FORMATS)
    # Damage that refuses everything would prove nothing.
    assert all(batch.outcomes["taken"] >= BATCH // 10 for batch in batches)
