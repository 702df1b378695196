"""``embedder models add``: what it reads from a checkpoint, and what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from embedder_assets.cli import main
from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.add import NewModel, add_model
from embedder_assets.serving.build import build_models
from embedder_assets.serving.models import load_description
from tests.unit.checkpoints import sha256_of, write_checkpoint, write_json, write_modules


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A sentence-transformers folder that states everything that can be stated."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    write_modules(folder, "Pooling", "Normalize", pooling={"pooling_mode_cls_token": True})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    prompts = {"query": "query: ", "document": "passage: "}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    (folder / "README.md").write_text("---\ntags: [x]\nlicense: mit\n---\n# A model\n", "utf-8")
    return folder


def command(repository: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments], env={"EMBEDDER_MODEL_REPOSITORY": str(repository)})


def test_a_dense_model_is_described_by_its_checkpoint_and_builds(repository, checkpoint):
    added = add_model(repository, NewModel("mine", "dense", str(checkpoint)))
    found = load_description(repository / "mine")
    assert found == added.description
    assert (found.license, found.pooling, found.normalize) == ("mit", "cls", True)
    assert (found.max_tokens, found.dimension) == (48, 32)
    assert (found.query_prefix, found.passage_prefix) == ("query: ", "passage: ")
    assert found.source.path == str(checkpoint)
    assert found.source.sha256 == sha256_of(checkpoint, "model.safetensors")
    assert (added.notes, added.setting.startswith("EMBEDDER_DENSE_MODEL")) == ([], True)
    assert build_models(repository, lambda line: None) == ["mine"]


def test_what_the_checkpoint_does_not_say_is_noted(repository, tmp_path):
    plain = write_checkpoint(tmp_path / "plain")
    added = add_model(repository, NewModel("mine", "dense", str(plain)))
    assert (added.description.pooling, added.description.license) == ("mean", "unknown")
    assert added.description.max_tokens == 64
    assert [note.split(":")[0] for note in added.notes] == [
        "No licence found",
        "The checkpoint does not say how it pools",
        "No prefixes found; if its card asks for some (as E5 does), set --query-prefix, --passage-prefix.",
    ]


def test_vectors_that_are_scaled_only_here_are_noted(repository, checkpoint):
    write_modules(checkpoint, "Pooling")
    assert "ranked by cosine" in add_model(repository, NewModel("mine", "dense", str(checkpoint))).notes[0]


def test_options_win_over_the_checkpoint(repository, checkpoint):
    added = add_model(
        repository,
        NewModel(
            "mine",
            "dense",
            str(checkpoint),
            license="ISC",
            pooling="last_token",
            max_tokens=16,
            query_prefix="",
            passage_prefix="text: ",
        ),
    )
    found = added.description
    assert (found.license, found.pooling, found.max_tokens) == ("ISC", "last_token", 16)
    assert (found.query_prefix, found.passage_prefix) == ("", "text: ")


@pytest.mark.parametrize(("stage", "pooling", "dimension"), [("sparse", "splade_max", 16), ("rerank", "logit", 1)])
def test_the_other_stages_have_their_pooling(repository, tmp_path, stage, pooling, dimension):
    plain = write_checkpoint(tmp_path / "plain")
    found = add_model(repository, NewModel("mine", stage, str(plain), license="MIT", dimension=16)).description
    assert (found.pooling, found.dimension) == (pooling, dimension)
    assert build_models(repository, lambda line: None) == ["mine"]


def test_an_architecture_that_needs_torch_is_noted(repository, tmp_path):
    folder = write_checkpoint(tmp_path / "roberta", model_type="xlm-roberta")
    added = add_model(repository, NewModel("mine", "dense", str(folder), license="MIT"))
    assert any("Architecture 'xlm-roberta': building needs the extra `export`" in note for note in added.notes)
    # Two positions belong to the padding token.
    assert added.description.max_tokens == 62


def test_a_checkpoint_inside_the_repository_is_named_by_a_relative_path(repository, checkpoint):
    shutil.copytree(checkpoint, repository / "checkpoints" / "mine")
    added = add_model(repository, NewModel("mine", "dense", str(repository / "checkpoints" / "mine")))
    assert added.description.source.path == "../checkpoints/mine"
    assert build_models(repository, lambda line: None) == ["mine"]


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (NewModel("taken", "dense", "DIR"), "a name that is free"),
        (NewModel("a b", "dense", "DIR"), r"allowed \(name\)"),
        (NewModel("mine", "dense", "DIR", max_tokens=4), r"allowed \(max_tokens\)"),
        (NewModel("mine", "dense", "DIR", max_tokens=65), "64 at most"),
        (NewModel("mine", "sparse", "DIR", pooling="mean"), "pooling 'mean' is not one of stage 'sparse'"),
        (NewModel("mine", "dense", "./nowhere/at/all"), "owner/name"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(repository, checkpoint, new, named):
    (repository / "taken").mkdir(parents=True)
    origin = new.origin.replace("DIR", str(checkpoint))
    with pytest.raises(ModelBuildError, match=named):
        add_model(repository, NewModel(**{**vars(new), "origin": origin}))
    assert [path.name for path in repository.iterdir()] == ["taken"]


def test_the_command_says_what_to_do_next_and_list_shows_the_model(repository, checkpoint):
    result = command(repository, "add", "mine", "--stage", "dense", "--from", str(checkpoint))
    assert result.exit_code == 0
    assert (
        "Next: `embedder models build mine`, then `embedder models verify mine`; EMBEDDER_DENSE_MODEL" in result.output
    )
    (row,) = json.loads(command(repository, "list", "--json").output)
    assert (row["name"], row["source"], row["license"]) == ("mine", str(checkpoint), "mit")
    again = command(repository, "add", "mine", "--stage", "dense", "--from", str(checkpoint))
    assert (again.exit_code, "a name that is free" in again.output) == (1, True)
    built = command(repository, "build", "mime")
    assert (built.exit_code, "Did you mean 'mine'?" in built.output) == (1, True)
