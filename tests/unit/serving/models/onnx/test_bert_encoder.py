"""The configuration of a checkpoint, read and refused."""

import dataclasses
import json

import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from tests.support.tiny_bert import CONFIG


def test_config_ignores_other_keys(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dataclasses.asdict(CONFIG) | {"model_type": "bert"}))
    assert BertConfig.from_file(path) == CONFIG


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "config.json"),
        ("{", "in JSON"),
        ('{"hidden_size": 8}', "no num_hidden_layers, num_attention_heads"),
        (
            json.dumps(dataclasses.asdict(CONFIG) | {"position_embedding_type": "relative_key"}),
            "relative_key",
        ),
    ],
)
def test_invalid_config_is_refused(tmp_path, text, named):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelBuildError, match=named):
        BertConfig.from_file(path)
