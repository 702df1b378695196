"""The Triton backend that all our models share: texts in, the outputs of an ONNX graph out.

It runs inside Triton (Python-based backend), so it imports nothing of this project but what lies next to it. A model
folder holds only its ``config.pbtxt``, ``tokenizer.json``, ``<version>/model.onnx`` and ``build.json``, which says what
the others have to be: no graph is served under a fingerprint that it was not built with. Pooling, the SPLADE maximum
and the top-k live in the graph. Inputs are BYTES of shape [1], so requests of any text length batch together; inside a
batch the texts are sorted by length and run in micro-batches, one worker thread per core. With micro-batches of one
text, as int8 has them, an answer does not depend on the other texts of its batch, bit for bit, although activations are
quantized dynamically. In bf16 it does, by as little as docs/models.md says.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from cpu_options import cores
from numpy.typing import NDArray
from runtimes import open_runtime
from tokenizers import Encoding, Tokenizer

Texts = list[tuple[str, ...]]


class TritonPythonModel:
    """One model: one tokenizer, one runtime shared by the worker threads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer and the graph of the model folder that Triton names."""
        config = json.loads(args["model_config"])
        parameters = {key: item["string_value"] for key, item in config["parameters"].items()}
        folder = Path(args["model_repository"])
        graph, tokenizer = folder / args["model_version"] / "model.onnx", folder / "tokenizer.json"
        _require_built(folder / "build.json", parameters["fingerprint"], graph, tokenizer)
        self.inputs = [item["name"] for item in config["input"]]
        self.outputs = {item["name"]: pb_utils.triton_string_to_numpy(item["data_type"]) for item in config["output"]}
        self.micro_batch_size = int(parameters["micro_batch_size"])
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(int(parameters["max_tokens"]))
        self.tokenizer.no_padding()
        self.workers = int(parameters["threads"]) or cores()
        self.pool = ThreadPoolExecutor(self.workers)
        self.runtime = open_runtime(graph, parameters["precision"], args["model_instance_kind"], self.workers)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers all requests of one batch together: shape [n, 1] in, shape [n, …] out for each."""
        texts: Texts = []
        spans: list[slice | Exception] = []
        for request in requests:
            try:
                rows = self._texts(request)
                spans.append(slice(len(texts), len(texts) + len(rows)))
                texts.extend(rows)
            except UnicodeDecodeError as error:
                spans.append(error)
        outputs = self._encode(texts) if texts else {}
        return [self._response(span, outputs) for span in spans]

    def finalize(self) -> None:
        """Ends the worker threads when Triton unloads the model."""
        self.pool.shutdown()

    def _texts(self, request: Any) -> Texts:
        columns = [
            [item.decode("utf-8") for item in pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()]
            for name in self.inputs
        ]
        return list(zip(*columns, strict=True))

    def _encode(self, texts: Texts) -> dict[str, NDArray[Any]]:
        single = len(self.inputs) == 1
        encodings = self.tokenizer.encode_batch([row[0] for row in texts] if single else texts)
        batches = list(self._micro_batches(encodings))
        results = list(self.pool.map(lambda rows: self._run([encodings[row] for row in rows]), batches))
        outputs = {}
        for position, (name, dtype) in enumerate(self.outputs.items()):
            first = results[0][position]
            outputs[name] = np.empty((len(texts), *first.shape[1:]), dtype)
            for rows, result in zip(batches, results, strict=True):
                outputs[name][rows] = result[position]
        return outputs

    def _micro_batches(self, encodings: list[Encoding]) -> Iterator[NDArray[Any]]:
        # The longest first: what remains at the end is short, so no core waits long for another.
        order = np.argsort([-len(encoding) for encoding in encodings], kind="stable")
        size = self.micro_batch_size
        if self.runtime.divides_batches:
            rounds = math.ceil(len(order) / (size * self.workers))
            size = math.ceil(len(order) / (rounds * self.workers))
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def _run(self, encodings: list[Encoding]) -> list[NDArray[Any]]:
        shape = (len(encodings), max(len(encoding) for encoding in encodings))
        feeds = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for row, encoding in enumerate(encodings):
            feeds["input_ids"][row, : len(encoding)] = encoding.ids
            feeds["attention_mask"][row, : len(encoding)] = 1
            feeds["token_type_ids"][row, : len(encoding)] = encoding.type_ids
        asked = {name: feed for name, feed in feeds.items() if name in self.runtime.inputs}
        result: list[NDArray[Any]] = self.runtime.run(list(self.outputs), asked)
        return result

    def _response(self, span: slice | Exception, outputs: dict[str, NDArray[Any]]) -> Any:
        if isinstance(span, Exception):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"the text is not valid UTF-8: {span}"))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(values[span])) for name, values in outputs.items()]
        )


def _require_built(record: Path, fingerprint: str, graph: Path, tokenizer: Path) -> None:
    """Raises unless the files are those that were built for the fingerprint of the configuration."""
    try:
        built = json.loads(record.read_text("utf-8"))
        found = {"fingerprint": fingerprint, "model_sha256": _sha256(graph), "tokenizer_sha256": _sha256(tokenizer)}
        wrong = [name for name, value in found.items() if built.get(name) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise RuntimeError(f"{record} cannot be read ({error}): run `embedder models build`") from error
    if wrong:
        raise RuntimeError(
            f"{record} says another {' and '.join(wrong)} than the files next to it: run `embedder models build`"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
