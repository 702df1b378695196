"""The graph of our own reranker, held against the same arithmetic in numpy where that is short, and against itself."""

import numpy as np
import onnxruntime
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.bert_interaction import InteractionConfig
from tests.support.checkpoints import edit_weights, write_checkpoint

CLS, SEP = 2, 3
QUERY, PASSAGE = [10, 11], [12, 10, 13, 14]
# The terms of the score that are not the lexical one.
OTHER_TERMS = {
    name: np.zeros(shape, np.float32)
    for name, shape in (
        ("classifier__weight", (1, 32)),
        ("classifier__bias", (1,)),
        ("token_classifier__weight", (1, 32)),
        ("token_classifier__bias", (1,)),
        ("interaction__state_scale", (1,)),
        ("interaction__word_gate__weight", (1, 32)),
    )
}


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "checkpoint")


def session(checkpoint):
    config = checkpoint / "config.json"
    head = InteractionConfig.from_file(config)
    model = build_bert_onnx(checkpoint / "model.safetensors", BertConfig.from_file(config), head)
    return onnxruntime.InferenceSession(model.SerializeToString())


def feeds(*pairs: tuple[list[int], list[int]]) -> dict[str, np.ndarray]:
    width = max(len(query) + len(passage) + 3 for query, passage in pairs)
    batch = np.zeros((3, len(pairs), width), np.int64)
    for row, (query, passage) in enumerate(pairs):
        ids = [CLS, *query, SEP, *passage, SEP]
        batch[0, row, : len(ids)] = ids
        batch[1, row, : len(ids)] = 1
        batch[2, row, len(query) + 2 : len(ids)] = 1
    return dict(zip(("input_ids", "attention_mask", "token_type_ids"), batch, strict=True))


def scores(model, *pairs) -> np.ndarray:
    return model.run(["score"], feeds(*pairs))[0]


def test_padded_batch_does_not_change_scores(checkpoint):
    model = session(checkpoint)
    pairs = [(QUERY, PASSAGE), ([10], [11] * 20), ([12, 13, 14, 15], [16]), (QUERY, [])]
    together = scores(model, *pairs)
    assert together.shape == (4, 1)
    alone = np.concatenate([scores(model, pair) for pair in pairs])
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(np.unique(alone.round(3))) == 4


def test_lexical_term_is_mean_best_cosine(checkpoint):
    rng = np.random.default_rng(1)
    words = rng.normal(size=(51, 32)).astype(np.float32)
    edit_weights(
        checkpoint,
        embeddings__word_embeddings__weight=words,
        interaction__word_scale=np.array([3.0], np.float32),
        **OTHER_TERMS,
    )
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    best = (unit[QUERY] @ unit[PASSAGE].T).max(axis=1)
    assert scores(session(checkpoint), (QUERY, PASSAGE))[0, 0] == pytest.approx(3 * best.mean(), abs=1e-5)


def test_special_tokens_match_nothing(checkpoint):
    edit_weights(checkpoint, interaction__word_scale=np.array([1.0], np.float32), **OTHER_TERMS)
    # [SEP] ends both texts: were it counted, its match would be perfect.
    assert scores(session(checkpoint), ([10], [11]))[0, 0] < 0.999
    assert scores(session(checkpoint), ([10], [10]))[0, 0] == pytest.approx(1, abs=1e-5)


def test_passage_changes_the_query_side(checkpoint):
    edit_weights(
        checkpoint,
        interaction__word_scale=np.zeros(1, np.float32),
        interaction__state_scale=np.zeros(1, np.float32),
    )
    model = session(checkpoint)
    assert scores(model, (QUERY, PASSAGE))[0, 0] != pytest.approx(scores(model, (QUERY, [15, 16, 17, 18]))[0, 0])


def test_checkpoint_without_interaction_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "plain", interaction=None)
    with pytest.raises(ModelBuildError, match="a section 'interaction'"):
        InteractionConfig.from_file(folder / "config.json")
