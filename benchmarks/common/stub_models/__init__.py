"""A real Triton with models that compute next to nothing, under the names and shapes of the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings


@contextmanager
def triton_with_stub_models(state: Path, repository: Path | None = None) -> Iterator[EmbeddedTriton]:
    """While the context lasts, a Triton on a built model repository, ours by default, answers with stub models."""
    with (
        patch.object(embedded, "SERVING_FOLDER", Path(__file__).parent),
        EmbeddedTriton(
            repository or load_settings(environ={}).model_repository, state, access=ServerAccess(secret=None)
        ) as server,
    ):
        yield server
