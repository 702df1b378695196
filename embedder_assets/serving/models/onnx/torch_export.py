"""Models of any architecture that transformers and torch's ONNX exporter know; needs the extra ``export``.

The same module, in float32, gives the golden values that a served model is compared with.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.checkpoint import Checkpoint
from embedder_assets.serving.models.description import ModelDescription

if TYPE_CHECKING:
    import onnx

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = {"dense": ["embedding"], "sparse": ["indices", "values"], "rerank": ["score"]}
AUTO_CLASSES = {
    "dense": "AutoModel",
    "sparse": "AutoModelForMaskedLM",
    "rerank": "AutoModelForSequenceClassification",
}
OPSET = 20
# The encoder of every architecture has one that pooling does not read.
UNUSED_TENSORS = ("pooler.", "position_ids")
# The exporter's own names must not collide with those of the outputs.
EXPORTED = "exported/"


def has_torch() -> bool:
    """Whether torch and transformers are installed: enough for golden values."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def load_module(checkpoint: Checkpoint, description: ModelDescription) -> Any:
    """The checkpoint with its head as a torch module: the graph's inputs in, its outputs out, float32.

    Raises:
        ModelBuildError: torch is not installed, or the checkpoint lacks the head.
    """
    torch, transformers = _require("torch", "transformers", checkpoint=checkpoint)
    transformers.utils.logging.disable_progress_bar()
    auto = getattr(transformers, AUTO_CLASSES[description.stage])
    try:
        # Eager attention: the one that the exporter can always write as plain ONNX operators.
        model, loaded = auto.from_pretrained(
            checkpoint.weights_folder,
            output_loading_info=True,
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise _failed(checkpoint, "a checkpoint that transformers can read", error) from error
    missing = sorted(name for name in loaded["missing_keys"] if not any(each in name for each in UNUSED_TENSORS))
    missing += sorted(str(each) for each in loaded.get("mismatched_keys", ()))
    if missing or (description.stage == "rerank" and model.config.num_labels != 1):
        got = f"no {', '.join(missing[:3])}" if missing else f"{model.config.num_labels} logits"
        raise ModelBuildError(
            f"checkpoint {checkpoint.folder}",
            expected=_wanted_head(description),
            got=got,
            remedy="Use a checkpoint that was trained for this stage.",
        )
    return _with_head(torch, model.eval(), description)


def export_onnx(checkpoint: Checkpoint, description: ModelDescription, target: Path) -> None:
    """Writes the float32 graph of a checkpoint.

    Raises:
        ModelBuildError: torch or the exporter is not installed, or the architecture cannot be exported.
    """
    import onnx

    torch, _ = _require("torch", "onnxscript", checkpoint=checkpoint)
    module = load_module(checkpoint, description)
    outputs = OUTPUTS[description.stage]
    # Two texts, one of them padded, in three tensors: the exporter takes equal ones for the same input.
    ids, mask, types = torch.full((2, 7), 5), torch.ones((2, 7), dtype=torch.int64), torch.zeros((2, 7)).long()
    mask[1, 4:] = 0
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (ids, mask, types),
                input_names=list(INPUTS),
                output_names=[EXPORTED + name for name in outputs],
                dynamic_shapes=(sizes, sizes, sizes),
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
        onnx.save(_named(program.model_proto, outputs), target)
    except Exception as error:
        raise _failed(
            checkpoint, f"an architecture that torch can export ('{checkpoint.architecture}')", error
        ) from error


def reference_outputs(module: Any, feeds: Sequence[dict[str, NDArray[np.int64]]]) -> dict[str, NDArray[Any]]:
    """What a module answers to texts, one at a time: output name to array of shape [texts, …]."""
    import torch

    with torch.no_grad():
        answers = [module(*(torch.from_numpy(feed[name]) for name in INPUTS)) for feed in feeds]
    columns = zip(*(answer if isinstance(answer, tuple) else (answer,) for answer in answers), strict=True)
    return {name: torch.cat(column).numpy() for name, column in zip(module.outputs, columns, strict=True)}


def versions() -> str:
    """The reference framework, for golden values."""
    import torch
    import transformers

    return f"transformers {transformers.__version__}, torch {torch.__version__}, float32"


def _with_head(torch: Any, model: Any, description: ModelDescription) -> Any:
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", 0)

    class WithHead(torch.nn.Module):  # type: ignore[misc]
        outputs = OUTPUTS[description.stage]

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            texts = {"input_ids": input_ids, "attention_mask": attention_mask}
            # An encoder with one type (RoBERTa) has no row for the second text of a pair.
            if typed and types > 1:
                texts["token_type_ids"] = token_type_ids
            answer = self.model(**texts)
            if description.stage == "rerank":
                return answer.logits
            if description.stage == "sparse":
                return _splade(torch, answer.logits, attention_mask, description.dimension)
            vector = _pooled(torch, answer.last_hidden_state, attention_mask, description.pooling)
            return torch.nn.functional.normalize(vector, dim=1) if description.normalize else vector

    return WithHead().eval()


def _pooled(torch: Any, hidden: Any, attention_mask: Any, pooling: str) -> Any:
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last_token":
        positions = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
        last = (attention_mask * positions).argmax(dim=1)
        index = last[:, None, None].expand(-1, 1, hidden.shape[2])
        return hidden.gather(1, index).squeeze(1)
    mask = attention_mask.unsqueeze(2).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def _splade(torch: Any, logits: Any, attention_mask: Any, top_k: int) -> tuple[Any, Any]:
    # A masked token becomes 0, and so does every negative peak: the same activation follows.
    peak = (logits * attention_mask.unsqueeze(2).to(logits.dtype)).amax(dim=1)
    values, indices = torch.log1p(torch.relu(peak)).topk(top_k, dim=1)
    return indices, values


def _named(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Gives the outputs their own names, and everything inside a prefix that keeps it apart from them."""
    from onnx import compose

    named: onnx.ModelProto = compose.add_prefix(model, "inner/", rename_inputs=False, rename_outputs=False)
    names = {EXPORTED + name: name for name in outputs}
    for node in named.graph.node:
        for position, name in enumerate(node.output):
            node.output[position] = names.get(name, name)
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)
    for output in named.graph.output:
        output.name = names[output.name]
    # Shapes of the weights too, which the quantizer transposes.
    del named.graph.value_info[:]
    return named


def _require(*packages: str, checkpoint: Checkpoint) -> list[Any]:
    try:
        return [importlib.import_module(name) for name in packages]
    except ImportError as error:
        raise ModelBuildError(
            f"checkpoint {checkpoint.folder}",
            expected=f"{' and '.join(packages)}, "
            f"which {' and '.join(checkpoint.unsupported_features) or 'golden values'} needs",
            got=str(error),
            remedy="Run `pip install 'embedder-assets[export]'` (in a checkout: `.venv/bin/pip install -e "
            "'.[export]'`), then `embedder models build` again.",
        ) from error


def _wanted_head(description: ModelDescription) -> str:
    return {
        "dense": "all weights of the encoder",
        "sparse": "a masked-LM head",
        "rerank": "a classifier with one logit",
    }[description.stage]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says about packages that text models do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _failed(checkpoint: Checkpoint, expected: str, error: Exception) -> ModelBuildError:
    return ModelBuildError(
        f"checkpoint {checkpoint.folder}",
        expected=expected,
        got=f"{type(error).__name__}: {error}"[:600],
        remedy="docs/models.md lists the architectures that were tried.",
    )
