"""The limits for tests that read many small documents, without the process that others are read in."""

from __future__ import annotations

import pytest

from embedder_assets.corpus.extract import DocumentLimits
from tests.support.factories import make_settings


@pytest.fixture(scope="session")
def limits(tmp_path_factory) -> DocumentLimits:
    return DocumentLimits.of(make_settings(tmp_path_factory.mktemp("home")))
