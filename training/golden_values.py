"""Write ``golden.json`` of models: what transformers itself answers, in float32, to a few texts.

In an environment with torch and transformers (``make parity`` makes one), in the project's folder:

export PYTHONPATH=.
.venv-parity/bin/python training/golden_values.py model_repository/dense_minilm model_repository/sparse_splade
.venv-parity/bin/python training/golden_values.py model_repository/rerank_cross_encoder --checkpoint FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from embedder_assets.serving import export_torch, golden
from embedder_assets.serving.checkpoint import read_checkpoint
from embedder_assets.serving.models import load_description
from embedder_assets.serving.sources import fetch


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
        module = export_torch.load_module(checkpoint, description)
        outputs = export_torch.reference_outputs(module, list(golden.encode(checkpoint.tokenizer, description)))
    golden.write_golden(folder, description, export_torch.versions(), outputs)


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
