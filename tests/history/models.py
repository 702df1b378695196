"""The models of a history: those of the project, and the dense one once more, which makes chunks of half the size."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import DEFAULT, patch

from embedder_assets.serving.models import build
from tests.support.model_repositories import exact_repository

FIRST, SHORT = "dense_minilm", "dense_short"


def make_repository(folder: Path) -> Path:
    """Makes the model repository; nothing is fetched or converted, since the graph is the one that is there."""
    shutil.copytree(exact_repository(), folder)
    shutil.copytree(folder / FIRST, folder / SHORT)
    description = folder / SHORT / "model.toml"
    text = description.read_text("utf-8").replace(f'name = "{FIRST}"', f'name = "{SHORT}"')
    description.write_text(text.replace("max_tokens = 256", "max_tokens = 128"), "utf-8")
    with patch.multiple(build, fetch=DEFAULT, _convert=DEFAULT):
        assert build.build_models(folder, lambda line: None) == [SHORT]
    return folder
