"""The models that the settings name: looked at before any work, and taken out only when nobody names them."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from embedder_assets.cli.main import main
from embedder_assets.cli.stack import run_stack
from embedder_assets.errors import ModelBuildError
from embedder_assets.resources import PipelineResource
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.configured import configured_models, require_models, unusable_models
from embedder_assets.serving.models.remove import remove_model
from embedder_assets.settings import Settings, load_settings
from tests.support.checkpoints import write_checkpoint, write_description
from tests.support.processes import free_ports

SPARSE = {"stage": "sparse", "pooling": "splade_max", "dimension": 8}
RERANK = {"stage": "rerank", "pooling": "logit", "dimension": 1}


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Two dense models, a sparse and a rerank one, none of them built, and a corpus of one document."""
    checkpoint, repository = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "repository"
    for name, fields in (("mine", {}), ("other", {}), ("splade", SPARSE), ("judge", RERANK)):
        write_description(repository, name, checkpoint, **fields)
    (tmp_path / "corpus" / "docs").mkdir(parents=True)
    (tmp_path / "corpus" / "docs" / "a.md").write_text("# A\n\nA text.\n", "utf-8")
    return {
        "EMBEDDER_HOME": str(tmp_path / "home"),
        "EMBEDDER_CORPUS_DIR": str(tmp_path / "corpus"),
        "EMBEDDER_MODEL_REPOSITORY": str(repository),
        "EMBEDDER_DENSE_MODELS": "mine",
        "EMBEDDER_SPARSE_MODEL": "splade",
        "EMBEDDER_RERANK_MODEL": "judge",
    }


def settings_of(variables: dict[str, str]) -> Settings:
    return load_settings(environ=variables)


def embedder(variables: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=variables)


WRONG = {
    "a name that is misspelt": (
        {"EMBEDDER_DENSE_MODELS": "mien"},
        r"setting 'dense_models' \(env:EMBEDDER_DENSE_MODELS\): expected one of the dense models mine, other of .*, "
        r"got 'mien', no such model\. Did you mean 'mine'\?",
    ),
    "the second of two": ({"EMBEDDER_DENSE_MODELS": "mine,gone"}, "got 'gone', no such model"),
    "a sparse model for dense": ({"EMBEDDER_DENSE_MODELS": "splade"}, "got 'splade', a model of stage 'sparse'"),
    "a dense model for sparse": (
        {"EMBEDDER_SPARSE_MODEL": "mine"},
        "'sparse_model' .*expected the sparse model splade of .*got 'mine', a model of stage 'dense'",
    ),
    "no rerank model": ({"EMBEDDER_RERANK_MODEL": "x"}, "'rerank_model' .*expected the rerank model judge .*got 'x'"),
    "a path": ({"EMBEDDER_RERANK_MODEL": "../judge"}, "got '../judge', no such model"),
    "one model for two stages": ({"EMBEDDER_RERANK_MODEL": "splade"}, "got 'splade', a model of stage 'sparse'"),
}


def test_models_of_disabled_stages_are_not_configured(variables):
    assert configured_models(settings_of(variables)) == {"mine": "dense", "splade": "sparse", "judge": "rerank"}
    off = variables | {"EMBEDDER_ENABLE_SPARSE": "false", "EMBEDDER_ENABLE_RERANK": "false"}
    assert configured_models(settings_of(off)) == {"mine": "dense"}
    require_models(settings_of(off | {"EMBEDDER_SPARSE_MODEL": "nowhere"}))


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_model_ends_commands_early(variables, wrong):
    changed, named = WRONG[wrong]
    variables |= changed
    with pytest.raises(ModelBuildError, match=named):
        require_models(settings_of(variables))
    commands = [["run"], ["search", "a text"], ["models", "compare", "mine", "other", "--collection", "docs"], ["up"]]
    for command in commands:
        result = embedder(variables, *command)
        assert (result.exit_code, result.stdout) == (1, ""), command
        assert result.stderr.lstrip().startswith("Error: setting '"), result.stderr
    assert not Path(variables["EMBEDDER_HOME"]).exists()


def test_doctor_finds_every_wrong_model(variables):
    variables |= {"EMBEDDER_DENSE_MODELS": "mien", "EMBEDDER_SPARSE_MODEL": "mine"}
    assert [error.got for error in unusable_models(settings_of(variables))] == [
        "'mien', no such model",
        "'mine', a model of stage 'dense'",
    ]
    said = embedder(variables, "doctor").stdout
    assert "problem  setting 'dense_models'" in said
    assert "note     model other: model.onnx is missing" in said.replace("\n", " ")


def test_ui_run_ends_before_reading_documents(variables, monkeypatch):
    for name in [each for each in os.environ if each.startswith("EMBEDDER_")]:
        monkeypatch.delenv(name)
    for name, value in (variables | {"EMBEDDER_DENSE_MODELS": "gone"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelBuildError, match="got 'gone', no such model"):
        PipelineResource().create_resource(dg.build_init_resource_context())
    assert not Path(variables["EMBEDDER_HOME"]).exists()


def test_up_ignores_unused_unbuilt_models(variables, tmp_path):
    ports = zip(("EMBEDDER_METRICS_PORT", "EMBEDDER_WEBSERVER_PORT"), map(str, free_ports(2)), strict=True)
    variables |= {"EMBEDDER_CORPUS_DIR": str(tmp_path / "nowhere"), **dict(ports)}
    said: list[str] = []
    with pytest.raises(Exception, match="nowhere"):
        run_stack(settings_of(variables), said.append)
    assert [line.split(":")[1].strip() for line in said] == ["model judge", "model mine", "model splade"]


@pytest.mark.parametrize("command", [["build"], ["verify"], ["tune"], ["remove"]])
def test_unknown_name_lists_the_known_ones(variables, command):
    result = embedder(variables, "models", *command, "mien")
    assert result.exit_code == 1
    assert "expected one of judge, mine, other, splade" in result.stderr
    assert "Did you mean 'mine'?" in result.stderr


# Taking a model out


def test_remove_deletes_only_own_files(variables):
    repository = Path(variables["EMBEDDER_MODEL_REPOSITORY"])
    build_models(repository, lambda line: None, names=["other"])
    result = embedder(variables, "models", "remove", "other")
    assert result.exit_code == 0, result.output
    assert "model.toml" in result.output
    assert "rows stay in the tables until the next run" in result.output
    assert sorted(path.name for path in repository.iterdir()) == ["judge", "mine", "splade"]


def test_checkpoint_in_the_folder_stays(variables):
    repository = Path(variables["EMBEDDER_MODEL_REPOSITORY"])
    write_checkpoint(repository / "other" / "checkpoint")
    removed = remove_model(settings_of(variables), "other")
    assert (removed.files, removed.kept) == (["model.toml"], ["checkpoint"])
    assert (repository / "other" / "checkpoint" / "model.safetensors").exists()


def test_model_with_invalid_description_is_removable(variables):
    repository = Path(variables["EMBEDDER_MODEL_REPOSITORY"])
    (repository / "other" / "model.toml").write_text("pooling = 1", "utf-8")
    remove_model(settings_of(variables), "other")
    assert not (repository / "other").exists()


def test_remove_keeps_the_target_of_a_link(variables, tmp_path):
    repository = Path(variables["EMBEDDER_MODEL_REPOSITORY"])
    (repository / "other").rename(tmp_path / "elsewhere")
    (repository / "other").symlink_to(tmp_path / "elsewhere")
    remove_model(settings_of(variables), "other")
    assert (tmp_path / "elsewhere" / "model.toml").exists()
    assert not (repository / "other").is_symlink()


def test_configured_and_default_models_stay(variables):
    repository = Path(variables["EMBEDDER_MODEL_REPOSITORY"])
    with pytest.raises(
        ModelBuildError, match=r"the rerank model of setting 'rerank_model' .*Set EMBEDDER_RERANK_MODEL"
    ):
        remove_model(settings_of(variables), "judge")
    (repository / "other").rename(repository / "dense_minilm")
    with pytest.raises(ModelBuildError, match="part of this project"):
        remove_model(settings_of(variables), "dense_minilm")
    assert {path.name for path in repository.iterdir()} == {"mine", "dense_minilm", "splade", "judge"}
