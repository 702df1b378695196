"""``embedder models add``: what it reads from a checkpoint, and what it writes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from embedder_assets.cli.main import main
from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.add import NewModel, add_model
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.checkpoint import read_checkpoint
from embedder_assets.serving.models.description import load_description
from tests.support.checkpoints import edit_weights, sha256_of, write_checkpoint, write_json, write_modules


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


def test_dense_model_is_described_by_checkpoint(repository, checkpoint):
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


def test_assumptions_are_noted(repository, tmp_path):
    plain = write_checkpoint(tmp_path / "plain")
    added = add_model(repository, NewModel("mine", "dense", str(plain)))
    assert (added.description.pooling, added.description.license) == ("mean", "unknown")
    assert added.description.max_tokens == 64
    assert [note.split(":")[0] for note in added.notes] == [
        "No licence found",
        "The checkpoint does not say how it pools",
        "No prefixes found; if its card asks for some (as E5 does), set --query-prefix, --passage-prefix.",
    ]


def test_added_normalization_is_noted(repository, checkpoint):
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
def test_other_stages_have_their_pooling(repository, tmp_path, stage, pooling, dimension):
    plain = write_checkpoint(tmp_path / "plain")
    pairs = {"dimension": dimension} if stage == "sparse" else {}
    found = add_model(repository, NewModel("mine", stage, str(plain), license="MIT", **pairs)).description
    assert (found.pooling, found.dimension) == (pooling, dimension)
    assert build_models(repository, lambda line: None) == ["mine"]


def test_architecture_needing_torch_is_refused_without_it(repository, tmp_path, monkeypatch):
    for name in ("torch", "transformers", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = write_checkpoint(tmp_path / "roberta", model_type="xlm-roberta")
    with pytest.raises(ModelBuildError, match=r"architecture 'xlm-roberta' needs.*embedder-assets\[export\]"):
        add_model(repository, NewModel("mine", "dense", str(folder), license="MIT"))
    # Two positions belong to the padding token.
    assert read_checkpoint(folder).longest_input == 62


def test_checkpoint_in_repository_gets_relative_path(repository, checkpoint):
    shutil.copytree(checkpoint, repository / "checkpoints" / "mine")
    added = add_model(repository, NewModel("mine", "dense", str(repository / "checkpoints" / "mine")))
    assert added.description.source.path == "../checkpoints/mine"
    assert build_models(repository, lambda line: None) == ["mine"]


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (NewModel("taken", "dense", "DIR"), "a name that is free.*models remove taken"),
        (NewModel("a b", "dense", "DIR"), "name: string should match pattern .*got 'a b'"),
        (NewModel("mine", "dense", "DIR", max_tokens=4), "max tokens: input should be greater .*got 4"),
        (NewModel("mine", "dense", "DIR", max_tokens=65), "64 at most"),
        (NewModel("mine", "dense", "DIR", max_tokens=0), "max tokens: .*got 0"),
        (NewModel("mine", "sparse", "PLAIN", dimension=0), "dimension: .*got 0"),
        (NewModel("mine", "dense", "DIR", dimension=16), "--dimension 16: .* --stage sparse only"),
        (NewModel("mine", "rerank", "DIR", dimension=1), "--dimension 1: .* --stage sparse only"),
        (NewModel("mine", "sparse", "PLAIN", dimension=1000), r"top_k: expected 1 to \d+ \(the vocabulary\), got 1000"),
        (NewModel("mine", "sparse", "DIR", pooling="mean"), "--pooling mean: .* whose pooling is splade_max"),
        (NewModel("mine", "rerank", "DIR", pooling="cls"), "--pooling cls: .* whose pooling is logit or interaction"),
        (NewModel("mine", "dense", "DIR", revision="main"), "--revision main: .* has no revisions"),
        (NewModel("mine", "sparse", "DIR"), "for stage 'sparse', got one for stage 'dense'.*Use --stage dense"),
        (NewModel("mine", "rerank", "DIR"), "for stage 'rerank', got one for stage 'dense'.*Use --stage dense"),
    ],
)
def test_refused_model_writes_nothing(repository, checkpoint, tmp_path, new, named):
    (repository / "taken").mkdir(parents=True)
    plain = write_checkpoint(tmp_path / "plain")
    origin = new.origin.replace("DIR", str(checkpoint)).replace("PLAIN", str(plain))
    with pytest.raises(ModelBuildError, match=named):
        add_model(repository, NewModel(**{**vars(new), "origin": origin}))
    assert [path.name for path in repository.iterdir()] == ["taken"]


def test_splade_model_is_refused_as_dense(repository, tmp_path):
    folder = write_checkpoint(tmp_path / "splade")
    write_modules(folder, "SpladePooling", pooling={"pooling_strategy": "max"})
    with pytest.raises(ModelBuildError, match=r"got one for stage 'sparse'.*Use --stage sparse"):
        add_model(repository, NewModel("mine", "dense", str(folder)))
    assert add_model(repository, NewModel("mine", "sparse", str(folder), dimension=8)).description.dimension == 8


# What the build would refuse, each as a change of a checkpoint that it takes.
NOMIC = {"model_type": "nomic_bert", "n_embd": 768, "n_layer": 12, "hidden_size": None}


def _sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def _modules(folder: Path, kind: str) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}, {"type": kind, "path": "1_X"}]
    write_json(folder / "modules.json", modules)


def _config(folder: Path, **changed: object) -> None:
    said = json.loads((folder / "config.json").read_text("utf-8")) | changed
    write_json(folder / "config.json", {name: value for name, value in said.items() if value is not None})


REFUSED = {
    "no masked-LM head": ("sparse", lambda at: edit_weights(at, cls__predictions__bias=None), "masked-LM head"),
    "no classifier": ("rerank", lambda at: edit_weights(at, classifier__weight=None), "one logit"),
    "a layer is missing": ("dense", lambda at: _config(at, num_hidden_layers=3), "encoder.layer.2"),
    "a tensor of another shape": ("dense", lambda at: _config(at, vocab_size=9), r"shape \[9, 32\]"),
    "quantized weights": (
        "dense",
        lambda at: edit_weights(at, embeddings__LayerNorm__bias=np.zeros(32, np.int8)),
        "floating point",
    ),
    "quantization": ("dense", lambda at: _config(at, quantization_config={"bits": 4}), "quantization_config"),
    "custom architecture": ("dense", lambda at: _config(at, auto_map={"AutoModel": "m.M"}), "custom code.*never run"),
    "custom tokenizer": (
        "dense",
        lambda at: write_json(at / "tokenizer_config.json", {"auto_map": {"A": "b"}}),
        "custom",
    ),
    "custom_st": ("dense", lambda at: _modules(at, "custom_st.Transformer"), "a module 'custom_st.Transformer'"),
    "a class of the same name": ("dense", lambda at: _modules(at, "mine.Pooling"), "a module 'mine.Pooling'"),
    "two transformers": ("dense", lambda at: _modules(at, "sentence_transformers.models.Transformer"), "again"),
    "an adapter": ("dense", lambda at: write_json(at / "adapter_config.json", {}), "an adapter of other weights"),
    "shards": ("dense", _sharded, "model-00001-of-00002"),
    "nomic": ("dense", lambda at: _config(at, **NOMIC), "nomic_bert'.*width of a vector.*as bert, roberta"),
    "a width in words": ("dense", lambda at: _config(at, hidden_size="wide"), "width of a vector .*got 'wide'"),
    "heads in words": ("dense", lambda at: _config(at, num_attention_heads="4"), "a whole number, got '4'"),
    "positions in words": ("dense", lambda at: _config(at, max_position_embeddings="many"), "as a number, got 'many'"),
    "a list for config.json": ("dense", lambda at: write_json(at / "config.json", []), "a JSON object, got a list"),
    "an object for modules.json": ("dense", lambda at: write_json(at / "modules.json", {"a": 1}), "a list of modules"),
    "prompts as a list": (
        "dense",
        lambda at: write_json(at / "config_sentence_transformers.json", {"prompts": ["a"]}),
        "prompts as names",
    ),
    "no tokenizer at all": ("dense", lambda at: (at / "tokenizer.json").write_text("{}"), "model 'mine'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_add_refuses_what_build_would(repository, tmp_path, monkeypatch, case):
    for name in ("torch", "transformers", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    stage, change, named = REFUSED[case]
    folder = write_checkpoint(tmp_path / "checkpoint")
    change(folder)
    with pytest.raises(ModelBuildError, match=named) as caught:
        add_model(repository, NewModel("mine", stage, str(folder), license="MIT"))
    assert caught.value.remedy
    assert "pydantic" not in str(caught.value)
    assert not repository.exists() or not list(repository.iterdir())


def test_other_configuration_is_another_model(repository, tmp_path):
    """Six layers, then two of them: queries and passages must not come from both."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    before = add_model(repository, NewModel("mine", "dense", str(folder), license="MIT")).description
    build_models(repository, lambda line: None)
    _config(folder, num_hidden_layers=1)
    shutil.rmtree(repository / "mine")
    after = add_model(repository, NewModel("mine", "dense", str(folder), license="MIT")).description
    assert before.source.sha256 == after.source.sha256
    for device in ("cpu", "gpu"):
        assert before.fingerprint(device) != after.fingerprint(device)
    assert build_models(repository, lambda line: None) == ["mine"]


# --from


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        ("./my-modle", r"no 'my-modle' in .*Did you mean '.*my-model'"),
        ("my-modle", r"no 'my-modle' in .*Did you mean '.*my-model'"),
        ("models/foo", r"no 'foo' in .*models\. Correct the path"),
        ("models/foo/", r"no 'foo' in .*models"),
        ("modles/foo/", r"no 'modles' in .*Did you mean '.*models'"),
        ("models/../nowhere", "no 'nowhere'"),
        ("dir/sub/x", "no 'dir' in"),
        ("../x/y", "no 'x' in"),
        ("/nowhere/x", "no 'nowhere' in /"),
        ("~/nowhere-at-all/x", "no 'nowhere-at-all' in"),
        ("~nobody-here/x", "no '~nobody-here' in"),
        ("owner name/x", "no 'owner name' in"),
        ("", "--from: expected a folder, .* got nothing"),
        ("hf:models/foo/bar", r"an id of the Hugging Face hub \(owner/name\), got 'models/foo/bar'"),
    ],
)
def test_mistyped_path_is_no_hub_id(repository, tmp_path, monkeypatch, origin, named):
    asked = []
    monkeypatch.setattr("embedder_assets.serving.models.add.resolve_revision", lambda *what: asked.append(what))
    monkeypatch.chdir(tmp_path)
    for name in ("my-model", "models"):
        (tmp_path / name).mkdir()
    with pytest.raises(ModelBuildError, match=named):
        add_model(repository, NewModel("mine", "dense", origin))
    assert not asked


@pytest.mark.parametrize(
    ("origin", "said"), [("models/foo", "is here"), ("intfloat/e5", "is here"), ("hf:intfloat/e5", None)]
)
def test_hub_id_needs_no_folder(repository, tmp_path, monkeypatch, origin, said):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelBuildError, match="huggingface_hub") as caught:
        add_model(repository, NewModel("mine", "dense", origin))
    assert (said is None) or (said in caught.value.thing)


def test_add_command_names_the_next_step(repository, checkpoint):
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
