"""``embedder models remove``: takes a model out of the repository, and nothing that is not its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.configured import SETTINGS_OF, configured_models
from embedder_assets.serving.models.description import model_folders
from embedder_assets.settings import Settings, variable_of

# Of `models add` and `models build`; the description last, so that a removal that was cut short can be repeated.
OWN_FILES = ("build.json", "1/model.onnx", "config.pbtxt", "tokenizer.json", "golden.json", "model.toml")


@dataclass(frozen=True)
class RemovedModel:
    """What went and what stays.

    Attributes:
        folder: The model's.
        files: What was removed, relative to the folder.
        kept: Other things in the folder, such as a checkpoint that was put there; empty when the folder is gone.
    """

    folder: Path
    files: list[str]
    kept: list[str]


def remove_model(settings: Settings, name: str) -> RemovedModel:
    """Removes the files of a model that were added and built, and its folder if nothing else is in it.

    Raises:
        ModelBuildError: There is no such model, it is part of this project, or the settings use it.
    """
    (folder,) = model_folders(settings.model_repository, [name])
    if name in configured_models(Settings()):
        raise ModelBuildError(
            f"model '{name}'",
            expected="a model that was added",
            got="a default model, which is part of this project",
            remedy="Leave it: a model that no setting names is not loaded, and need not be built.",
        )
    if (stage := configured_models(settings).get(name)) is not None:
        setting = SETTINGS_OF[stage]
        raise ModelBuildError(
            f"model '{name}'",
            expected="a model that no setting names",
            got=f"the {stage} model of setting '{setting}' ({settings.provenance(setting)})",
            remedy=f"Set {variable_of(setting)} to another one first.",
        )
    if folder.is_symlink():
        folder.unlink()
        return RemovedModel(folder, ["the link"], [])
    files = [each for each in OWN_FILES if (folder / each).exists()]
    for each in files:
        (folder / each).unlink()
    for place in (folder / "1", folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    kept = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return RemovedModel(folder, files, kept)
