"""The models that the settings name, and whether the model repository has them: checked before any work of a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.description import DESCRIPTION_FILE, ModelDescription, Stage, load_description
from embedder_assets.settings import Settings, variable_of

SETTINGS_OF: dict[Stage, str] = {"dense": "dense_models", "sparse": "sparse_model", "rerank": "rerank_model"}


def configured_models(settings: Settings) -> dict[str, Stage]:
    """Name to stage of each model that the settings name for a stage that is enabled.

    A model that two settings name has the stage of the first of them.
    """
    used: dict[str, Stage] = {}
    for stage, name in _named(settings):
        used.setdefault(name, stage)
    return used


def unusable_models(settings: Settings) -> Iterator[ModelBuildError]:
    """An error for each configured model that the repository does not have, or that is not for its stage and tables.

    Whether it is built is not checked: a run may go on without a sparse or a rerank model.
    """
    present = {path.parent.name for path in settings.model_repository.glob(f"*/{DESCRIPTION_FILE}")}
    for stage, name in _named(settings):
        try:
            if name not in present:
                yield _misnamed(settings, stage, name, present, "no such model")
                continue
            found = load_description(settings.model_repository / name)
            if found.stage != stage:
                yield _misnamed(settings, stage, name, present, f"a model of stage '{found.stage}'")
            elif settings.tables_url and settings.device == "cpu" and found.choice not in (None, "int8"):
                yield _chosen_for_one_host(settings, found)
        except ModelBuildError as error:
            yield error


def require_models(settings: Settings) -> None:
    """Raises the first error of ``unusable_models``, so that nothing is read and no server is started in vain.

    Raises:
        ModelBuildError: A setting names a model that is not in the repository or is for another stage.
    """
    for error in unusable_models(settings):
        raise error


def _named(settings: Settings) -> Iterator[tuple[Stage, str]]:
    for name in settings.dense_models:
        yield "dense", name
    if settings.enable_sparse:
        yield "sparse", settings.sparse_model
    if settings.enable_rerank:
        yield "rerank", settings.rerank_model


def _misnamed(settings: Settings, stage: Stage, name: str, present: set[str], got: str) -> ModelBuildError:
    setting = SETTINGS_OF[stage]
    of_stage = sorted(each for each in present if _is_of(settings, each, stage))
    if not present:
        remedy = "Set EMBEDDER_MODEL_REPOSITORY to the project's model_repository folder."
    elif nearest := difflib.get_close_matches(name, of_stage, n=1):
        remedy = f"Did you mean '{nearest[0]}'? `embedder models list` shows all."
    else:
        remedy = f"Correct {variable_of(setting)}; `embedder models add` makes a new one."
    where = (
        f"the {stage} model{'s' if len(of_stage) > 1 else ''} {', '.join(of_stage)}" if of_stage else f"a {stage} model"
    )
    return ModelBuildError(
        f"setting '{setting}' ({settings.provenance(setting)})",
        expected=f"{'one of ' if len(of_stage) > 1 else ''}{where} of {settings.model_repository}",
        got=f"'{name}', {got}",
        remedy=remedy,
    )


def _chosen_for_one_host(settings: Settings, model: ModelDescription) -> ModelBuildError:
    return ModelBuildError(
        f"model '{model.name}' of {settings.model_repository}",
        expected="int8, which precision.cpu = 'auto' stands for where hosts share tables (EMBEDDER_TABLES_URL)",
        got=f"{model.choice}, chosen for this machine before they did: each host would compute the others' rows anew",
        remedy=f'Run `embedder models build`, or set precision = {{ cpu = "{model.choice}" }} in its model.toml on '
        "every host.",
    )


def _is_of(settings: Settings, name: str, stage: Stage) -> bool:
    try:
        return load_description(settings.model_repository / name).stage == stage
    except ModelBuildError:
        return False
