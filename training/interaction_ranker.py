"""The reranker as a torch module: the same arithmetic as ``embedder_assets/serving/models/onnx/bert_interaction.py``.

The names of its parameters are those of the exported safetensors. Its encoder is the first layers of a BERT model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

SPECIAL_TOKEN_IDS = (101, 102)
MASKED = -1e4


class Interaction(nn.Module):
    """Parameters of the two token matches."""

    def __init__(self, hidden: int, projection_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden, projection_size, bias=False)
        self.state_gate = nn.Linear(hidden, 1)
        self.word_gate = nn.Linear(hidden, 1)
        self.state_scale = nn.Parameter(torch.tensor([4.0]))
        self.word_scale = nn.Parameter(torch.tensor([4.0]))
        nn.init.orthogonal_(self.projection.weight)


class InteractionRanker(nn.Module):
    """Scores pairs: a logit of [CLS], a logit of the query's tokens, and two token matches.

    Args:
        encoder: A BERT encoder whose layers are all used; its word embeddings stay as they are.
        joint_layers: Layers in which all tokens are updated; the others update the query's tokens only.
        projection_size: Width of the token states that are compared.
        special_token_ids: Ids of [CLS] and [SEP], which match nothing.
    """

    def __init__(
        self,
        encoder: BertModel,
        joint_layers: int = 1,
        projection_size: int = 96,
        special_token_ids: tuple[int, int] = SPECIAL_TOKEN_IDS,
    ) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        self.bert = encoder
        self.joint_layers = joint_layers
        self.special_token_ids = special_token_ids
        self.pooler = nn.ModuleDict({"dense": nn.Linear(hidden, hidden)})
        self.classifier = nn.Linear(hidden, 1)
        self.token_classifier = nn.Linear(hidden, 1)
        self.interaction = Interaction(hidden, projection_size)
        nn.init.normal_(self.classifier.weight, std=0.02)
        for linear in (self.token_classifier, self.interaction.state_gate, self.interaction.word_gate):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.classifier.bias)
        self.bert.embeddings.word_embeddings.weight.requires_grad_(False)

    @classmethod
    def start(cls, folder: Path, layers: int = 3) -> InteractionRanker:
        """A ranker on the first layers of a pretrained model."""
        config = BertConfig.from_pretrained(folder, num_hidden_layers=layers)
        return cls(BertModel.from_pretrained(folder, config=config, add_pooling_layer=False))

    @classmethod
    def load(cls, folder: Path) -> InteractionRanker:
        """A ranker that ``save`` has written."""
        said = json.loads((folder / "config.json").read_text("utf-8"))["interaction"]
        encoder = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
        model = cls(encoder, said["joint_layers"], said["projection_size"], tuple(said["special_token_ids"]))
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        model.eval()
        return model

    def save(self, folder: Path, tokenizer: Path) -> None:
        """Writes a checkpoint that ``embedder models build`` takes with ``pooling = "interaction"``."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().contiguous() for name, value in self.state_dict().items()}
        # The gate of the states weighs the logits of the tokens too.
        for part in ("weight", "bias"):
            weights[f"token_gate.{part}"] = weights[f"interaction.state_gate.{part}"].clone()
        save_file(weights, folder / "model.safetensors")
        config = self.bert.config.to_dict() | {
            "interaction": {
                "joint_layers": self.joint_layers,
                "projection_size": self.interaction.projection.out_features,
                "special_token_ids": list(self.special_token_ids),
            }
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
            shutil.copy(tokenizer, folder / "tokenizer.json")

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Scores, float32 [pairs], from int64 [pairs, tokens] each."""
        embeddings = self.bert.embeddings
        words = embeddings.word_embeddings(input_ids)
        positions = embeddings.position_embeddings.weight[: input_ids.shape[1]]
        states = embeddings.LayerNorm(words + embeddings.token_type_embeddings(token_type_ids) + positions)
        mask = attention_mask.float()
        bias = ((1 - mask) * MASKED)[:, None, None, :]
        layers = self.bert.encoder.layer
        for layer in layers[: self.joint_layers]:
            states = self._layer(layer, states, states, bias)
        queries = mask * (1 - token_type_ids)
        length = int(queries.sum(1).max().item())
        first, passage = states[:, :length], states[:, length:]
        own = queries[:, :length, None] > 0
        side = first
        for layer in layers[self.joint_layers :]:
            updated = self._layer(layer, side, torch.cat([side, passage], 1), bias)
            side = torch.where(own, updated.to(first.dtype), first)
        return self._score(words, states, side, self._words_of(input_ids, mask, token_type_ids, length))

    def _score(self, words: Tensor, states: Tensor, side: Tensor, parts: tuple[Tensor, Tensor]) -> Tensor:
        in_query, in_passage = parts
        length = in_query.shape[1]
        matches = self.interaction
        logit = self.classifier(torch.tanh(self.pooler["dense"](side[:, 0])))[:, 0].float()
        state_gate = matches.state_gate(states[:, :length])[..., 0].float()
        word_gate = matches.word_gate(words[:, :length])[..., 0].float()
        token_logit = _weighted(self.token_classifier(side)[..., 0].float(), state_gate, in_query)
        contextual = _weighted(_best_cosine(matches.projection(states), length, in_passage), state_gate, in_query)
        lexical = _weighted(_best_cosine(words, length, in_passage), word_gate, in_query)
        return logit + token_logit + matches.state_scale * contextual + matches.word_scale * lexical

    def _words_of(self, input_ids: Tensor, mask: Tensor, types: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Which tokens count: of the query [pairs, length], and of the passage [pairs, tokens]."""
        for token in self.special_token_ids:
            mask = mask * (input_ids != token)
        return (mask * (1 - types))[:, :length], mask * types

    def _layer(self, layer: Any, tokens: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        pairs, length, hidden = tokens.shape
        count = self.bert.config.num_attention_heads

        def heads(linear: nn.Linear, x: Tensor) -> Tensor:
            return linear(x).view(pairs, -1, count, hidden // count).transpose(1, 2)

        attention = layer.attention
        query = heads(attention.self.query, tokens)
        mixed = F.scaled_dot_product_attention(
            query,
            heads(attention.self.key, memory),
            heads(attention.self.value, memory),
            attn_mask=bias.to(query.dtype),
        )
        mixed = mixed.transpose(1, 2).reshape(pairs, length, hidden)
        attended = attention.output.LayerNorm(attention.output.dense(mixed) + tokens)
        wide = F.gelu(layer.intermediate.dense(attended))
        out: Tensor = layer.output.LayerNorm(layer.output.dense(wide) + attended)
        return out


def _best_cosine(vectors: Tensor, length: int, in_passage: Tensor) -> Tensor:
    unit = F.normalize(vectors.float(), dim=-1)
    cosine = unit[:, :length] @ unit.transpose(1, 2)
    return (cosine + (in_passage[:, None, :] - 1) * 2).amax(-1)


def _weighted(values: Tensor, gate: Tensor, counted: Tensor) -> Tensor:
    weights = F.softplus(gate) * counted
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1e-6)
