"""Other architectures, exported through torch: the graphs against transformers, and the whole build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.add import NewModel, add_model
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.checkpoint import read_checkpoint
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.golden import agreement, encode, graph_outputs, read_golden
from embedder_assets.serving.models.onnx import torch_export
from tests.parity.conftest import save, torch, transformers
from tests.support.checkpoints import write_description

FAMILIES = ["XLMRoberta", "Roberta", "ModernBert", "MPNet", "DistilBert", "Electra", "DebertaV2"]
SPARSE: dict[str, Any] = {"stage": "sparse", "pooling": "splade_max", "dimension": 16}
RERANK: dict[str, Any] = {"stage": "rerank", "pooling": "logit", "dimension": 1}


def build(folder: Path, **arguments: Any) -> tuple[Any, Any]:
    """What the built graph answers to the golden texts, and the golden values of transformers."""
    assert build_models(folder.parent, lambda line: None, names=[folder.name], **arguments) == [folder.name]
    description = load_description(folder)
    golden = read_golden(folder, description)
    assert golden is not None
    assert golden.reference.startswith("transformers")
    feeds = list(encode(folder / "tokenizer.json", description))
    return graph_outputs(folder / "1" / "model.onnx", feeds), golden.outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture_is_exported_and_quantized(tmp_path: Path, family: str) -> None:
    import onnx

    checkpoint = save(family, "Model", tmp_path / "checkpoint")
    repository = tmp_path / "repository"
    for precision, least in (("fp32", 0.999999), ("int8", 0.9)):
        folder = write_description(repository, precision, checkpoint, precision={"cpu": precision})
        got, expected = build(folder)
        assert agreement("dense", got, expected) > least
    graph = onnx.load(repository / "int8" / "1" / "model.onnx").graph
    # Six linear layers in each of the three layers: the quantizer must have found them.
    assert sum(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in graph.node) >= 12
    assert {"input_ids", "attention_mask"} <= {item.name for item in graph.input}


@pytest.mark.parametrize("family", ["XLMRoberta", "ModernBert", "DebertaV2"])
def test_an_exported_graph_is_close_in_float16(tmp_path: Path, family: str) -> None:
    folder = write_description(tmp_path / "repository", "mine", save(family, "Model", tmp_path / "checkpoint"))
    got, expected = build(folder, device="gpu")
    assert agreement("dense", got, expected) > 0.999
    np.testing.assert_allclose(np.linalg.norm(got["embedding"], axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("family", ["Bert", "XLMRoberta", "ModernBert"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last_token"])
def test_every_pooling_is_that_of_transformers(tmp_path: Path, family: str, pooling: str) -> None:
    checkpoint = save(family, "Model", tmp_path / "checkpoint")
    folder = write_description(
        tmp_path / "repository", "mine", checkpoint, pooling=pooling, passage_prefix="text ", precision={"cpu": "fp32"}
    )
    got, golden = build(folder)
    model = transformers.AutoModel.from_pretrained(checkpoint)
    for row, feed in enumerate(encode(folder / "tokenizer.json", load_description(folder))):
        texts = {name: torch.from_numpy(feed[name]) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            hidden = model(**texts).last_hidden_state[0].numpy()
        expected = {"mean": hidden.mean(0), "cls": hidden[0], "last_token": hidden[-1]}[pooling]
        expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(got["embedding"][row], expected, atol=2e-5)
        np.testing.assert_allclose(golden["embedding"][row], expected, atol=2e-5)


@pytest.mark.parametrize(
    ("family", "task", "fields"),
    [
        (family, task, fields)
        for family in ("Bert", "XLMRoberta", "ModernBert")
        for task, fields in (("ForMaskedLM", SPARSE), ("ForSequenceClassification", RERANK))
    ],
)
def test_the_other_heads_are_exported(tmp_path: Path, family: str, task: str, fields: dict[str, Any]) -> None:
    checkpoint = save(family, task, tmp_path / "checkpoint")
    repository = tmp_path / "repository"
    got, golden = build(write_description(repository, "full", checkpoint, precision={"cpu": "fp32"}, **fields))
    assert {name: values.shape for name, values in got.items()} == {name: v.shape for name, v in golden.items()}
    for name in set(got) - {"indices"}:
        np.testing.assert_allclose(got[name], golden[name], atol=2e-5)
    assert agreement(fields["stage"], got, golden) > 0.999999
    for name, device, least in (("quantized", "cpu", 0.9), ("half", "gpu", 0.999)):
        got, golden = build(write_description(repository, name, checkpoint, **fields), device=device)
        assert agreement(fields["stage"], got, golden) > least


def test_padding_does_not_change_answers(tmp_path: Path) -> None:
    import onnxruntime

    folder = write_description(
        tmp_path / "repository", "mine", save("ModernBert", "Model", tmp_path / "checkpoint"), precision={"cpu": "fp32"}
    )
    alone, _ = build(folder)
    feeds = list(encode(folder / "tokenizer.json", load_description(folder)))
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    longest = max(feed["input_ids"].shape[1] for feed in feeds)
    batch = {
        item.name: np.concatenate(
            [np.pad(feed[item.name], ((0, 0), (0, longest - feed[item.name].shape[1]))) for feed in feeds]
        )
        for item in session.get_inputs()
    }
    np.testing.assert_allclose(session.run(["embedding"], batch)[0], alone["embedding"], atol=2e-5)


@pytest.mark.parametrize(
    ("task", "config", "fields", "named"),
    [
        ("Model", {}, SPARSE, "a masked-LM head, got no .*lm_head"),
        ("Model", {}, RERANK, "a classifier with one logit, got no classifier"),
        ("ForSequenceClassification", {"num_labels": 3}, RERANK, "one logit, got one with 3"),
    ],
)
def test_a_missing_head_is_named(
    tmp_path: Path, task: str, config: dict[str, Any], fields: dict[str, Any], named: str
) -> None:
    checkpoint = save("XLMRoberta", task, tmp_path / "checkpoint", **config)
    write_description(tmp_path / "repository", "mine", checkpoint, **fields)
    with pytest.raises(ModelBuildError, match=named):
        build_models(tmp_path / "repository", lambda line: None)


def test_other_architecture_is_added_and_built(tmp_path: Path) -> None:
    checkpoint = save("ModernBert", "Model", tmp_path / "checkpoint")
    added = add_model(tmp_path / "repository", NewModel("mine", "dense", str(checkpoint), license="MIT"))
    assert added.description.dimension == read_checkpoint(checkpoint).width
    got, expected = build(tmp_path / "repository" / "mine")
    assert agreement("dense", got, expected) > 0.9


def test_own_writer_equals_the_exporter(tmp_path: Path) -> None:
    checkpoint = save("Bert", "Model", tmp_path / "checkpoint")
    folder = write_description(tmp_path / "repository", "mine", checkpoint, precision={"cpu": "fp32"})
    ours, _ = build(folder)
    description = load_description(folder)
    torch_export.export_onnx(read_checkpoint(checkpoint), description, tmp_path / "exported.onnx")
    exported = graph_outputs(tmp_path / "exported.onnx", list(encode(folder / "tokenizer.json", description)))
    np.testing.assert_allclose(ours["embedding"], exported["embedding"], atol=1e-5)
