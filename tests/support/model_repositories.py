"""The default models with the dense one in a precision of the test's choice, whatever this machine's CPU chose.

They are kept in ``build/`` from one session to the next, because a build in another precision fetches the weights.
``make test`` makes them before the tests.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from filelock import FileLock

from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.description import load_description
from embedder_assets.settings import load_settings
from tests.conftest import PROJECT

DENSE = "dense_minilm"


@cache
def repository_in(precision: str) -> Path:
    """The model repository; int8 is exact: an answer does not depend on the other texts of its batch."""
    built, target = load_settings(environ={}).model_repository, PROJECT / "build" / "models" / precision
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        for folder in built.iterdir():
            if folder.name != DENSE:
                shutil.copytree(folder, target / folder.name, dirs_exist_ok=True)
        pinned = f'precision = {{ cpu = "{precision}" }}\n' + (built / DENSE / "model.toml").read_text("utf-8")
        description = target / DENSE / "model.toml"
        if not description.exists() or description.read_text("utf-8") != pinned:
            same = load_description(built / DENSE).precision_on("cpu") == precision
            shutil.copytree(built / DENSE, target / DENSE, dirs_exist_ok=True, ignore=None if same else _graph)
            description.write_text(pinned, "utf-8")
        build_models(target, lambda line: None)
    return target


def exact_repository() -> Path:
    """The default models; where this machine's CPU chose bf16, in int8, so that tables can be compared bit for bit."""
    built = load_settings(environ={}).model_repository
    return built if load_description(built / DENSE).precision_on("cpu") == "int8" else repository_in("int8")


def exact_variables() -> dict[str, str]:
    """What makes a command use the exact repository; nothing where that is the default one."""
    repository = exact_repository()
    default = repository == load_settings(environ={}).model_repository
    return {} if default else {"EMBEDDER_MODEL_REPOSITORY": str(repository)}


def _graph(folder: str, names: list[str]) -> set[str]:
    return {"1", "build.json"} & set(names)


if __name__ == "__main__":
    for each in ("int8", "bf16"):
        print(repository_in(each))
