"""A process that extracts office files, for all tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from embedder_assets.corpus.extract import DocumentLimits
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.isolated import IsolatedExtractor
from tests.support.factories import make_settings

Extract = Callable[[str, bytes], Extracted]


@pytest.fixture(scope="session")
def extract(tmp_path_factory) -> Iterator[Extract]:
    limits = DocumentLimits.of(make_settings(tmp_path_factory.mktemp("office")))
    with IsolatedExtractor(limits) as isolated:
        yield lambda suffix, data: isolated.extract(suffix, data, f"kb/a{suffix}")


@pytest.fixture
def left_out(extract) -> Callable[[str, bytes], dict[str, int]]:
    """What of a file is not in its text: how many of which part."""
    return lambda suffix, data: {each.part: each.count for each in extract(suffix, data).omissions}
