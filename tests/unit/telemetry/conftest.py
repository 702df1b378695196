"""An instance of Dagster in memory, for the tests of this package."""

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
