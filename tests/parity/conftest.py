"""Small models of transformers with random weights, saved as a user has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import write_tokenizer

torch = pytest.importorskip("torch", reason="parity needs the extra: pip install 'embedder-assets[export]'")
transformers = pytest.importorskip(
    "transformers", reason="parity needs the extra: pip install 'embedder-assets[export]'"
)

SIZES: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "DistilBert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
    "Electra": {"embedding_size": 16},
    "ModernBert": {"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    "XLMRoberta": {"pad_token_id": 1},
    "Roberta": {"pad_token_id": 1},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
}


def save(family: str, task: str, folder: Path, **config: Any) -> Path:
    """Saves a model with its tokenizer; biases and norms are not left at their start values."""
    torch.manual_seed(0)
    sizes = {**SIZES, "initializer_range": 0.2, "num_labels": 1, **OWN_SIZES.get(family, {}), **config}
    model = getattr(transformers, f"{family}{task}")(getattr(transformers, f"{family}Config")(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    return folder
