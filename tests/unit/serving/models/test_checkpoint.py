"""Checkpoints that can be built, and the message about each that cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.checkpoint import read_checkpoint
from embedder_assets.serving.models.sources import download
from tests.support.checkpoints import (
    CONFIG,
    edit_weights,
    write_checkpoint,
    write_description,
    write_json,
    write_modules,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def build(tmp_path: Path, checkpoint: Path, **fields) -> list[str]:
    write_description(tmp_path / "repository", "mine", checkpoint, **fields)
    return build_models(tmp_path / "repository", lambda line: None)


def test_weights_in_subfolder_are_found(tmp_path):
    folder = write_checkpoint(tmp_path / "old", below="0_Transformer")
    write_modules(folder, "Pooling", "Normalize", below="0_Transformer")
    found = read_checkpoint(folder)
    assert found.weights == folder / "0_Transformer" / "model.safetensors"
    assert found.tokenizer.exists()
    assert found.pooling() == "mean"


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True, "word_embedding_dimension": 32}, "last_token"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_pooling_is_read(checkpoint, said, pooling):
    assert read_checkpoint(write_modules(checkpoint, "Pooling", pooling=said)).pooling() == pooling


@pytest.mark.parametrize(
    ("said", "got"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean_tokens, pooling_mode_cls_token"),
        ({}, "none"),
    ],
)
def test_unsupported_pooling_is_refused(checkpoint, said, got):
    folder = write_modules(checkpoint, "Pooling", pooling=said or {"word_embedding_dimension": 32})
    with pytest.raises(ModelBuildError, match=f"mean, cls, lasttoken, got .*{got}"):
        read_checkpoint(folder).pooling()


def test_splade_pooling_must_be_maximum(checkpoint):
    said = {"pooling_strategy": "max", "activation_function": "relu"}
    assert read_checkpoint(write_modules(checkpoint, "SpladePooling", pooling=said)).pooling() == "splade_max"
    write_modules(checkpoint, "SpladePooling", pooling={"pooling_strategy": "sum"})
    with pytest.raises(ModelBuildError, match="max with relu, got sum"):
        read_checkpoint(checkpoint).pooling()


def test_dense_module_is_refused_by_name(tmp_path, checkpoint):
    write_modules(checkpoint, "Pooling", "Dense")
    with pytest.raises(ModelBuildError, match=r"modules\.json.*got a module 'Dense'"):
        build(tmp_path, checkpoint)


@pytest.mark.parametrize(
    ("gone", "instead", "named", "remedy"),
    [
        ("model.safetensors", "pytorch_model.bin", "pytorch_model.bin", "save_pretrained"),
        ("model.safetensors", "model-00001-of-00002.safetensors", "model-00001-of-00002", "max_shard_size"),
        ("model.safetensors", None, "no weights", "save_pretrained"),
        ("tokenizer.json", "vocab.txt", "vocab.txt", "AutoTokenizer"),
        ("config.json", None, "nothing of that name", "Point to the folder"),
    ],
)
def test_missing_file_names_the_alternatives(checkpoint, gone, instead, named, remedy):
    (checkpoint / gone).unlink()
    if instead:
        (checkpoint / instead).write_bytes(b"")
    with pytest.raises(ModelBuildError) as caught:
        read_checkpoint(checkpoint)
    assert (caught.value.expected, named in caught.value.got) == (gone, True)
    assert remedy in caught.value.remedy


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelBuildError, match="nowhere: expected a folder, got none"):
        read_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_file_with_wrong_digest_is_refused(tmp_path, checkpoint, name):
    write_description(tmp_path / "repository", "mine", checkpoint)
    with (checkpoint / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ModelBuildError, match=rf"\({name}\): expected SHA-256 \w+, got \w+.*correct the pin"):
        build_models(tmp_path / "repository", lambda line: None)
    assert not (tmp_path / "repository" / "mine" / "build.json").exists()


HEADLESS = {"cls__predictions__transform__dense__weight": None}
TWO_LOGITS = {"classifier__weight": np.zeros((2, 32), np.float32)}
SPARSE = {"stage": "sparse", "pooling": "splade_max", "dimension": 8}
RERANK = {"stage": "rerank", "pooling": "logit", "dimension": 1}


@pytest.mark.parametrize(
    ("fields", "tensors", "named"),
    [
        (SPARSE, HEADLESS, r"cls\.predictions\.transform\.dense\.weight.*masked-LM head"),
        (RERANK, {"classifier__weight": None}, r"classifier\.weight.*num_labels 1"),
        (RERANK, TWO_LOGITS, r"classifier\.weight.*shape \[1, 32\], got shape \[2, 32\].*one logit"),
    ],
)
def test_missing_head_is_named(tmp_path, checkpoint, fields, tensors, named):
    edit_weights(checkpoint, **tensors)
    with pytest.raises(ModelBuildError, match=named):
        build(tmp_path, checkpoint, **fields)


@pytest.mark.parametrize(
    ("config", "fields", "named"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, RERANK, "a classifier with one logit, got one with 2"),
        ({}, {"dimension": 384}, "dimension = 32, got 384"),
        ({}, {"max_tokens": 65}, "max_tokens of 64 at most .*got 65"),
    ],
)
def test_description_must_fit_the_checkpoint(tmp_path, config, fields, named):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", **config)
    with pytest.raises(ModelBuildError, match=f"model 'mine': expected {named}"):
        build(tmp_path, checkpoint, **fields)


def test_weights_above_two_gigabytes_are_refused(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr("embedder_assets.serving.models.checkpoint.LARGEST_GRAPH_BYTES", 4000)
    with pytest.raises(ModelBuildError, match="2 GB at most"):
        build(tmp_path, checkpoint)


def test_do_lower_case_needs_lowercasing_tokenizer(tmp_path):
    for lowercase in (True, False):
        folder = write_checkpoint(tmp_path / f"lowercase-{lowercase}", lowercase=lowercase)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": True})
    assert build(tmp_path, tmp_path / "lowercase-True") == ["mine"]
    with pytest.raises(ModelBuildError, match="as do_lower_case says"):
        build(tmp_path, tmp_path / "lowercase-False", max_tokens=16)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "xlm-roberta"}, "architecture 'xlm-roberta'"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"type_vocab_size": 1}, "type_vocab_size 1"),
    ],
)
def test_missing_torch_names_the_install_command(tmp_path, monkeypatch, config, named):
    for name in ("torch", "transformers", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", **config)
    with pytest.raises(ModelBuildError, match=named) as caught:
        build(tmp_path, checkpoint)
    assert "embedder-assets[export]" in caught.value.remedy
    assert "embedder models build" in caught.value.remedy


def test_missing_hub_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelBuildError) as caught:
        download("owner/name", "0" * 40)
    assert "embedder-assets[hub]" in caught.value.remedy
    assert "local" in caught.value.remedy


def test_config_of_the_tests_is_plain_bert(checkpoint):
    found = read_checkpoint(checkpoint)
    assert (found.unsupported_features, found.longest_input) == ([], CONFIG.max_position_embeddings)
