"""A user's own models, from checkpoint to answers in the real Triton."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.serving.build import build_models
from embedder_assets.serving.golden import encode, golden_rows, graph_outputs
from embedder_assets.serving.models import load_description
from embedder_assets.serving.session import TritonSession
from embedder_assets.serving.verify import verify_models
from embedder_assets.settings import Settings, load_settings
from tests.unit.checkpoints import write_checkpoint, write_description

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


def test_verify_gives_a_figure_for_each_of_a_users_models(settings: Settings, session: TritonSession) -> None:
    verdicts = {verdict.name: verdict for verdict in verify_models(settings, session)}
    assert {name: verdict.problem for name, verdict in verdicts.items()} == dict.fromkeys(verdicts)
    assert list(verdicts) == ["dense", "rerank", "sparse"]
    assert "lowest cosine" in verdicts["dense"].figure
    assert "correlation of scores 1.0000 of 10 texts" in verdicts["rerank"].figure


def test_each_role_gets_its_prefix(session: TritonSession) -> None:
    def vector(text: str, **role: str) -> np.ndarray:
        return next(session.infer_many("dense", [[(text,)]], **role)).outputs["embedding"][0]  # type: ignore[arg-type]

    text = "how do i call the server"
    assert not np.array_equal(vector(text, role="query"), vector(text))
    # Without a role it is a passage.
    np.testing.assert_array_equal(vector(text), vector(text, role="passage"))


def test_triton_answers_what_the_graph_answers_to_prefixed_texts(settings: Settings, session: TritonSession) -> None:
    folder = settings.model_repository / "dense"
    description = load_description(folder)
    feeds = list(encode(folder / "tokenizer.json", description))
    expected = graph_outputs(folder / "1" / "model.onnx", feeds)["embedding"]
    got = next(session.infer_many("dense", [golden_rows("dense")])).outputs["embedding"]
    np.testing.assert_array_equal(got, expected)


def test_a_graph_without_token_types_is_served(settings: Settings, tmp_path: Path) -> None:
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
        (verdict,) = verify_models(own, session)
    finally:
        session.close()
    assert verdict.problem is None
