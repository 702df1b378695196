"""A user's own models, from checkpoint to answers in the real Triton."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.errors import ModelBuildError, ModelLoadError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.golden import encode, golden_rows, graph_outputs
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.serving.verify import verify_models
from embedder_assets.settings import Settings, load_settings
from tests.support.checkpoints import write_checkpoint, write_description

PREFIXES = {"query_prefix": "query: ", "passage_prefix": "passage: "}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A repository of three built models of one checkpoint."""
    folder = tmp_path_factory.mktemp("kit")
    checkpoint, repository = write_checkpoint(folder / "checkpoint"), folder / "repository"
    write_description(repository, "dense", checkpoint, pooling="cls", **PREFIXES)
    write_description(repository, "sparse", checkpoint, stage="sparse", pooling="splade_max", dimension=16)
    write_description(
        repository, "rerank", checkpoint, stage="rerank", pooling="logit", dimension=1, precision={"cpu": "fp32"}
    )
    build_models(repository, lambda line: None)
    overrides = {"home": (folder / "home", "test"), "model_repository": (repository, "test")}
    return load_settings(overrides, environ={})


@pytest.fixture(scope="module")
def session(settings: Settings) -> Iterator[TritonSession]:
    session = TritonSession(settings)
    yield session
    session.close()


def test_verify_measures_every_user_model(settings: Settings, session: TritonSession) -> None:
    results = {result.name: result for result in verify_models(settings, session)}
    assert {name: result.problem for name, result in results.items()} == dict.fromkeys(results)
    assert list(results) == ["dense", "rerank", "sparse"]
    assert "lowest cosine" in results["dense"].figure
    assert "correlation of scores 1.0000 of 10 texts" in results["rerank"].figure


def test_each_role_gets_its_prefix(session: TritonSession) -> None:
    def vector(text: str, **role: str) -> np.ndarray:
        return next(session.infer_many("dense", [[(text,)]], **role)).outputs["embedding"][0]  # type: ignore[arg-type]

    text = "how do i call the server"
    assert not np.array_equal(vector(text, role="query"), vector(text))
    # Without a role it is a passage.
    np.testing.assert_array_equal(vector(text), vector(text, role="passage"))


def test_triton_answers_equal_the_graph(settings: Settings, session: TritonSession) -> None:
    folder = settings.model_repository / "dense"
    description = load_description(folder)
    feeds = list(encode(folder / "tokenizer.json", description))
    expected = graph_outputs(folder / "1" / "model.onnx", feeds)["embedding"]
    got = next(session.infer_many("dense", [golden_rows("dense")])).outputs["embedding"]
    np.testing.assert_array_equal(got, expected)


def test_graph_without_token_types_is_served(settings: Settings, tmp_path: Path) -> None:
    """As the exporter writes it for an architecture without them: the input is not there."""
    import onnx

    repository = tmp_path / "repository"
    folder = write_description(repository, "typeless", write_checkpoint(tmp_path / "checkpoint"))
    build_models(repository, lambda line: None)
    path = folder / "1" / "model.onnx"
    graph = onnx.load(path)
    shape = onnx.helper.make_node("Shape", ["input_ids"], ["sizes"])
    zeros = onnx.helper.make_node(
        "ConstantOfShape", ["sizes"], ["token_type_ids"], value=onnx.helper.make_tensor("z", 7, [1], [0])
    )
    kept = [item for item in graph.graph.input if item.name != "token_type_ids"]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    nodes = [shape, zeros, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.save(graph, path)
    record = folder / "build.json"
    built = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps(built | {"model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}), "utf-8")
    overrides = {"home": (tmp_path / "home", "test"), "model_repository": (repository, "test")}
    own = load_settings(overrides, environ={})
    session = TritonSession(own)
    try:
        (result,) = verify_models(own, session)
    finally:
        session.close()
    assert result.problem is None


# A model that changes under a server


def small(tmp_path: Path, layers: int) -> Settings:
    """A repository of one dense model, built with so many of the checkpoint's two layers."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=layers)
    write_description(tmp_path / "repository", "mine", checkpoint)
    build_models(tmp_path / "repository", lambda line: None)
    overrides = {"home": (tmp_path / "home", "test"), "model_repository": (tmp_path / "repository", "test")}
    return load_settings(overrides, environ={})


def ask(session: TritonSession) -> np.ndarray:
    answer: np.ndarray = next(session.infer_many("mine", [[("how do i call the server",)]])).outputs["embedding"][0]
    return answer


def test_rows_carry_the_computing_fingerprint(tmp_path: Path) -> None:
    """The run has begun with two layers; when the first vector is needed, the model has one."""
    session = TritonSession(small(tmp_path, 2))
    label = session.fingerprint("mine", "dense")
    settings = small(tmp_path, 1)
    try:
        with pytest.raises(
            ModelBuildError, match=f"expected fingerprint {label}.*got [0-9a-f]{{16}}.*start a run again"
        ):
            ask(session)
        assert session.fingerprint("mine", "dense") == label
        session.close()
        assert session.fingerprint("mine", "dense") != label
        assert ask(session).shape == (32,)
    finally:
        session.close()
    assert load_description(settings.model_repository / "mine").fingerprint("cpu") != label


def test_server_with_earlier_model_is_refused(tmp_path: Path) -> None:
    first = TritonSession(small(tmp_path, 2))
    try:
        before = ask(first)
        assert first.address is not None
        settings = small(tmp_path, 1)
        second = TritonSession(settings.model_copy(update={"triton_url": (first.address.grpc,)}))
        with pytest.raises(ModelBuildError, match=r"mine' at .*expected fingerprint .*restart a server"):
            ask(second)
        second.close()
        # The run that has begun with it goes on with it, and its rows carry its fingerprint.
        np.testing.assert_array_equal(ask(first), before)
    finally:
        first.close()


@pytest.mark.parametrize("what", ["1/model.onnx", "tokenizer.json", "build.json"])
def test_server_refuses_files_of_other_fingerprint(tmp_path: Path, what: str) -> None:
    """As another machine's server may: there nobody looks at the files before they are loaded."""
    settings = small(tmp_path, 1)
    other = small(tmp_path / "other", 2)
    (settings.model_repository / "mine" / what).write_bytes(
        (other.model_repository / "mine" / what).read_bytes() + (b" " if what == "tokenizer.json" else b"")
    )
    with (
        EmbeddedTriton(settings.model_repository, tmp_path / "state") as server,
        pytest.raises(ModelLoadError, match=r"build\.json says another (fingerprint|model_sha256|tokenizer_sha256)"),
    ):
        TritonClient(server.address, 60).ensure_loaded("mine")
