"""Our own reranker: the ONNX graph against the torch module that is trained, and the training itself on a toy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.bert_interaction import InteractionConfig
from tests.parity.conftest import SIZES, save, torch, transformers
from training import train_reranker
from training.interaction_ranker import InteractionRanker

TOLERANCE = 1e-4
CLS, SEP = 2, 3


def ranker(joint_layers: int) -> InteractionRanker:
    torch.manual_seed(1)
    config = transformers.BertConfig(**SIZES, initializer_range=0.2)
    model = InteractionRanker(transformers.BertModel(config, add_pooling_layer=False), joint_layers, 8, (CLS, SEP))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def batch(lengths: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    columns = np.zeros((3, len(lengths), max(map(sum, lengths)) + 3), np.int64)
    for row, (query, passage) in enumerate(lengths):
        words = rng.integers(4, 80, query + passage)
        ids = [CLS, *words[:query], SEP, *words[query:], SEP]
        columns[0, row, : len(ids)] = ids
        columns[1, row, : len(ids)] = 1
        columns[2, row, query + 2 : len(ids)] = 1
    return list(columns)


@pytest.mark.parametrize("joint_layers", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[(3, 20)], [(1, 40), (12, 5), (6, 6)], [(4, 0), (2, 9)]])
def test_the_graph_scores_as_the_module(tmp_path: Path, joint_layers: int, lengths: list[tuple[int, int]]) -> None:
    import onnxruntime

    model = ranker(joint_layers)
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}", "utf-8")
    model.save(tmp_path / "saved", tokenizer)
    config = tmp_path / "saved" / "config.json"
    graph = build_bert_onnx(
        tmp_path / "saved" / "model.safetensors", BertConfig.from_file(config), InteractionConfig.from_file(config)
    )
    columns = batch(lengths)
    with torch.no_grad():
        expected = model(*map(torch.from_numpy, columns)).numpy()
        again = InteractionRanker.load(tmp_path / "saved")(*map(torch.from_numpy, columns)).numpy()
    feeds = dict(zip(("input_ids", "attention_mask", "token_type_ids"), columns, strict=True))
    got = onnxruntime.InferenceSession(graph.SerializeToString()).run(["score"], feeds)[0][:, 0]
    assert np.abs(got - expected).max() < TOLERANCE
    assert np.array_equal(again, expected)


def write(path: Path, rows: list) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    words = ["whale", "sea", "bread", "server", "model", "text", "query", "call"]
    passages = [f"the {first} from the {second} ." for first in words for second in words]
    rows = [
        {"query": f"how do i call a {word} ?", "positives": [at * 8], "candidates": [*range(40)], "rest": None}
        for at, word in enumerate(words[:5])
    ] * 20
    rows = [row | {"query": row["query"] + " !" * (number // 5)} for number, row in enumerate(rows)]
    write(tmp_path / "squad.passages.jsonl.gz", passages)
    write(tmp_path / "squad.question.jsonl.gz", rows)
    init = save("Bert", "Model", tmp_path / "init")
    out = tmp_path / "out"
    paths = ["--mined", str(tmp_path), "--init", str(init), "--out", str(out)]
    train_reranker.train(
        train_reranker.parse_args(
            [*paths, "--steps", "60", "--batch", "4", "--log-every", "10", "--layers", "2", "--threads", "1"]
        )
    )
    log = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    epoch_losses = [row["loss"][0] for row in log if "loss" in row]
    assert epoch_losses[-1] < epoch_losses[0]
    assert log[-1]["step"] == 60
    assert len(log[-1]["validation"]) == 3
    assert {path.name for path in out.iterdir()} >= {"model.safetensors", "config.json", "tokenizer.json"}
    InteractionRanker.load(out)
