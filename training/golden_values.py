"""Write ``golden.json`` of models: what transformers itself answers, in float32, to a few texts.

In an environment with torch and transformers (``make parity`` makes one), in the project's folder:

.venv-parity/bin/python -m training.golden_values model_repository/dense_minilm model_repository/sparse_splade
.venv-parity/bin/python -m training.golden_values model_repository/rerank_cross_encoder --checkpoint FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedder_assets.serving.models import golden
from embedder_assets.serving.models.checkpoint import read_checkpoint
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.onnx import torch_export
from embedder_assets.serving.models.sources import fetch


def write_reference(folder: Path, checkpoint_folder: Path | None) -> None:
    """Write the golden values of one model folder.

    Args:
        folder: The model folder with its ``model.toml``.
        checkpoint_folder: The float32 checkpoint, for a model whose source is not one (a shipped graph).
    """
    description = load_description(folder)
    with tempfile.TemporaryDirectory() as scratch:
        if checkpoint_folder:
            checkpoint = read_checkpoint(checkpoint_folder)
        else:
            checkpoint = fetch(description.source, folder, Path(scratch))
        feeds = list(golden.encode(checkpoint.tokenizer, description))
        reference = torch_export.versions()
        if description.pooling == "interaction":
            outputs = interaction_outputs(checkpoint.folder, feeds)
            reference = f"training/interaction_ranker.py, {reference}"
        else:
            outputs = torch_export.reference_outputs(torch_export.load_module(checkpoint, description), feeds)
    golden.write_golden(folder, description, reference, outputs)


def interaction_outputs(checkpoint: Path, feeds: Sequence[golden.Arrays]) -> golden.Arrays:
    """What our own torch module answers; transformers has no such head."""
    import torch

    from training.interaction_ranker import InteractionRanker

    model = InteractionRanker.load(checkpoint)
    names = ("input_ids", "attention_mask", "token_type_ids")
    with torch.no_grad():
        scores = [float(model(*(torch.from_numpy(feed[name]) for name in names))) for feed in feeds]
    return {"score": np.array(scores, np.float32)[:, None]}


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description="Write the golden values of models.")
    parser.add_argument("folders", type=Path, nargs="+", help="model folders")
    parser.add_argument("--checkpoint", type=Path, help="float32 checkpoint of the one folder, for a shipped graph")
    args = parser.parse_args()
    if args.checkpoint and len(args.folders) > 1:
        parser.error("--checkpoint belongs to one folder")
    for folder in args.folders:
        write_reference(folder.resolve(), args.checkpoint)
        print(f"{folder / golden.GOLDEN_FILE} written")


if __name__ == "__main__":
    main()
