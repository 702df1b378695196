"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


# Modules and tests stay to the end: looking for garbage among them took half of the time of collecting the tests.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them, and no exporter that runs next to them."""
    for name in list(os.environ):
        if name.startswith(("EMBEDDER_", "OTEL_", "DAGSTER_")):
            monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setenv("EMBEDDER_METRICS_PORT", str(probe.getsockname()[1]))


@pytest.fixture
def shared_data() -> Path:
    """The evaluation data next to the project; a test that needs it is skipped where it is absent."""
    if not SHARED_DATA.exists():
        pytest.skip(f"needs the evaluation data in {SHARED_DATA.name}/ next to the project (../shared/data)")
    return SHARED_DATA
