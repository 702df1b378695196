"""Ranges of digests cover all digests without overlap."""

import polars as pl
import pytest

from embedder_assets.tables.digest_ranges import digest_ranges
from tests.support.factories import sha256


@pytest.mark.parametrize(("rows", "count"), [(0, 1), (1, 1), (32_768, 1), (32_769, 2), (100_000, 4), (10**10, 16**4)])
def test_each_digest_is_in_one_range(rows, count):
    ranges = digest_ranges(rows)
    assert len(ranges) == count
    digests = pl.DataFrame({"content_sha256": [sha256(str(number)) for number in range(500)]})
    for digest in digests["content_sha256"] if count < 100 else digests["content_sha256"][:3]:
        holding = [each for each in ranges if each.overlaps(digest, digest)]
        assert len(holding) == 1
        assert digest in digests.filter(holding[0].rows)["content_sha256"]
