from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models import ModelDescription, list_descriptions, load_description, render_config
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import load_settings

REPOSITORY = load_settings(environ={}).model_repository
SHIPPED = {"kind": "shipped", "sha256": "a" * 64, "tokenizer_sha256": "b" * 64}

MODEL_TOML = """\
name = "model"
stage = "dense"
license = "MIT"
pooling = "mean"
precision = "int8"
max_tokens = 128
dimension = 384

[source]
kind = "shipped"
sha256 = "{a}"
tokenizer_sha256 = "{b}"
""".format(a="a" * 64, b="b" * 64)


def describe(**values) -> ModelDescription:
    usual = {"name": "model", "stage": "dense", "license": "MIT", "pooling": "mean", "precision": "int8"}
    return ModelDescription(**{**usual, "max_tokens": 128, "dimension": 384, "source": SHIPPED, **values})


def write(repository: Path, content: str | bytes, name: str = "model") -> Path:
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def parse(description: ModelDescription) -> pb.ModelConfig:
    return text_format.Parse(render_config(description), pb.ModelConfig())


# model.toml


def test_a_description_is_read_with_its_defaults(tmp_path):
    description = load_description(write(tmp_path, MODEL_TOML))
    assert description == describe()
    assert (description.normalize, description.micro_batch_size, description.threads) == (False, 1, 0)


@pytest.mark.parametrize(
    ("line", "changed", "named"),
    [
        ('precision = "int8"', 'precision = "int4"', "precision"),
        ("max_tokens = 128", "max_tokens = 100000", "max_tokens"),
        ('stage = "dense"', "", "stage"),
        ('license = "MIT"', 'licence = "MIT"', "licence"),
        ('kind = "shipped"', 'kind = "url"', "kind"),
        ("a" * 64, "not-a-digest", "sha256"),
        ("dimension = 384", "dimension =", "Invalid value"),
    ],
)
def test_a_wrong_description_names_the_file_and_what_is_wrong(tmp_path, line, changed, named):
    folder = write(tmp_path, MODEL_TOML.replace(line, changed))
    with pytest.raises(ModelBuildError) as caught:
        load_description(folder)
    assert caught.value.thing == str(folder / "model.toml")
    assert named in caught.value.got
    assert "EMBEDDER_MODEL_REPOSITORY" in caught.value.remedy


@pytest.mark.parametrize("content", [None, b"name = '\xff'"])
def test_a_missing_or_unreadable_description_is_refused(tmp_path, content):
    folder = write(tmp_path, content) if content else tmp_path / "model"
    with pytest.raises(ModelBuildError, match=r"model\.toml"):
        load_description(folder)


def test_the_name_must_be_that_of_the_folder(tmp_path):
    with pytest.raises(ModelBuildError, match=r"name = 'other', as the folder, got 'model'"):
        load_description(write(tmp_path, MODEL_TOML, "other"))


def test_a_repository_lists_its_models_by_name_and_other_folders_are_passed_over(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, MODEL_TOML.replace('name = "model"', f'name = "{name}"'), name)
    (tmp_path / "notes").mkdir()
    assert [description.name for description in list_descriptions(tmp_path)] == ["a", "b"]


def test_a_repository_without_models_is_refused(tmp_path):
    with pytest.raises(ModelBuildError, match="got none"):
        list_descriptions(tmp_path / "nowhere")


# The fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp32"},
        {"pooling": "logit"},
        {"max_tokens": 256},
        {"dimension": 128},
        {"normalize": True},
        {"micro_batch_size": 8},
        {"source": {**SHIPPED, "sha256": "c" * 64}},
        {"source": {**SHIPPED, "tokenizer_sha256": "c" * 64}},
    ],
)
def test_what_decides_the_output_changes_the_fingerprint(change):
    assert describe(**change).fingerprint != describe().fingerprint


@pytest.mark.parametrize("change", [{"threads": 4}, {"license": "ISC"}, {"name": "renamed"}])
def test_what_does_not_decide_the_output_keeps_the_fingerprint(change):
    assert describe(**change).fingerprint == describe().fingerprint


def test_a_fingerprint_is_16_hex_digits():
    assert int(describe().fingerprint, 16) >= 0
    assert len(describe().fingerprint) == 16


# config.pbtxt


@pytest.mark.parametrize(
    ("stage", "inputs", "outputs"),
    [
        ("dense", ["TEXT"], {"embedding": (pb.TYPE_FP32, [384])}),
        ("sparse", ["TEXT"], {"indices": (pb.TYPE_INT32, [384]), "values": (pb.TYPE_FP32, [384])}),
        ("rerank", ["QUERY", "PASSAGE"], {"score": (pb.TYPE_FP32, [1])}),
    ],
)
def test_the_configuration_has_the_inputs_and_outputs_of_the_stage(stage, inputs, outputs):
    config = parse(describe(stage=stage))
    assert [(item.name, item.data_type, list(item.dims)) for item in config.input] == [
        (name, pb.TYPE_STRING, [1]) for name in inputs
    ]
    assert {item.name: (item.data_type, list(item.dims)) for item in config.output} == outputs


def test_the_configuration_carries_what_the_backend_and_the_client_ask_for():
    description = describe(threads=3, micro_batch_size=5)
    config = parse(description)
    assert (config.name, config.backend) == ("model", "text_encoder")
    assert config.max_batch_size >= 512
    assert config.HasField("dynamic_batching")
    assert {key: item.string_value for key, item in config.parameters.items()} == {
        "fingerprint": description.fingerprint,
        "max_tokens": "128",
        "micro_batch_size": "5",
        "threads": "3",
    }


@pytest.mark.parametrize("folder", [path.parent for path in sorted(REPOSITORY.glob("*/model.toml"))], ids=str)
def test_the_configuration_in_git_is_the_generated_one(folder):
    assert (folder / "config.pbtxt").read_text("utf-8") == render_config(load_description(folder))


def test_the_models_of_the_default_settings_are_in_git():
    settings = load_settings(environ={})
    assert {description.stage: description.name for description in list_descriptions(REPOSITORY)} == {
        "dense": settings.dense_models[0],
        "sparse": settings.sparse_model,
        "rerank": settings.rerank_model,
    }


@pytest.mark.parametrize(
    ("model", "stage", "setting"),
    [("sparse_splade", "dense", "dense_models"), ("dense_minilm", "sparse", "sparse_model")],
)
def test_a_model_of_another_stage_is_refused_with_the_name_of_the_setting(tmp_path, model, stage, setting):
    session = TritonSession(load_settings({"home": (tmp_path, "test")}, environ={}))
    with pytest.raises(ModelBuildError, match=f"a model of stage '{stage}'.*Correct the setting {setting};"):
        session.fingerprint(model, stage)
