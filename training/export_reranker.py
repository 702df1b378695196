"""Turn a checkpoint of ``train_reranker.py`` into what the model repository ships.

python -m training.export_reranker --checkpoint CHECKPOINT_FOLDER --target model_repository/rerank_cross_encoder
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.bert_interaction import InteractionConfig
from embedder_assets.serving.models.onnx.quantize import quantize_int8

LOG_LIMIT_BYTES = 200_000


def export_model(checkpoint: Path, target: Path, float32: Path | None) -> None:
    """Write ``1/model.onnx`` (int8) and ``tokenizer.json``, and the float32 graph where it is wanted."""
    import onnx

    config = checkpoint / "config.json"
    head = InteractionConfig.from_file(config)
    model = build_bert_onnx(checkpoint / "model.safetensors", BertConfig.from_file(config), head)
    (target / "1").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.onnx"
        onnx.save(model, plain)
        quantize_int8(plain, target / "1" / "model.onnx")
        if float32:
            shutil.copy(plain, float32)
    shutil.copyfile(checkpoint / "tokenizer.json", target / "tokenizer.json")


def thin_log(source: Path, target: Path) -> None:
    """Copy the log; where the whole would be too large, every validation and every n-th other line."""
    lines = source.read_text(encoding="utf-8").splitlines()
    stride = 1 + source.stat().st_size // LOG_LIMIT_BYTES
    last = len(lines) - 1
    kept = [line for i, line in enumerate(lines) if i % stride == 0 or i == last or '"validation"' in line]
    target.write_text("\n".join(kept) + "\n", encoding="utf-8")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Export a trained reranker into the model repository.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True, help="the model's folder in the repository")
    parser.add_argument("--log", type=Path, help="where a copy of the training log goes")
    parser.add_argument("--float32", type=Path, help="where the float32 graph goes, for comparison")
    return parser.parse_args()


def main() -> None:
    """Export, and print the digests that ``model.toml`` pins."""
    args = parse_args()
    export_model(args.checkpoint, args.target, args.float32)
    if args.log:
        thin_log(args.checkpoint / "log.jsonl", args.log)
    for path in (args.target / "1" / "model.onnx", args.target / "tokenizer.json"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path}: {path.stat().st_size} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
