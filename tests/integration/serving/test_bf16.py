"""bfloat16 in the real Triton: how near it is to float32, on what it depends, and what a home of int8 does about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder_assets.serving.backends.text_encoder import cpu_options
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.onnx.cpu_session import open_session
from embedder_assets.serving.tune import Tuning, write_tuning
from embedder_assets.serving.verify import verify_models
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import Embedder
from tests.support.model_repositories import DENSE, repository_in

# What docs/models.md says of it.
LEAST_COSINE = 0.9999
LARGEST_BATCH_EFFECT = 5e-5


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    values = {"home": tmp_path_factory.mktemp("home"), "model_repository": repository_in("bf16")}
    return load_settings({name: (value, "test") for name, value in values.items()}, environ={})


@pytest.fixture(scope="module")
def triton(settings: Settings) -> Iterator[TritonSession]:
    session = TritonSession(settings)
    yield session
    session.close()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts of the sample corpus, of 1 to 200 words."""
    words = " ".join(path.read_text("utf-8") for path in sorted((PROJECT / "examples").rglob("*.md"))).split()
    lengths = [1 + (number * 37) % 200 for number in range(96)]
    return [" ".join(words[start * 150 :][:length]) for start, length in enumerate(lengths)]


def vectors(triton: TritonSession, *requests: list[str]) -> np.ndarray:
    answers = triton.infer_many(DENSE, [[(text,) for text in request] for request in requests])
    return np.concatenate([answer.outputs["embedding"] for answer in answers])


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 - cosine of each row with its like, in float64."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return 1 - (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def float32(settings: Settings, texts: list[str]) -> np.ndarray:
    """ONNX Runtime's answers to the graph that OpenVINO computes in bf16: it is the float32 one."""
    from tokenizers import Tokenizer

    folder = settings.model_repository / DENSE
    session, tokenizer = open_session(folder / "1" / "model.onnx"), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    rows = []
    for encoding in (tokenizer.encode(text) for text in texts):
        columns = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        names = ("input_ids", "attention_mask", "token_type_ids")
        feeds = {name: np.array([ids], np.int64) for name, ids in zip(names, columns, strict=True)}
        rows.append(session.run(["embedding"], feeds)[0][0])
    return np.stack(rows)


def test_cosine_to_float32_is_almost_one(triton: TritonSession, settings: Settings, texts: list[str]) -> None:
    found = vectors(triton, texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert distances(found, float32(settings, texts)).max() <= 1 - LEAST_COSINE


def test_batch_changes_an_answer_by_little(triton: TritonSession, texts: list[str]) -> None:
    together = vectors(triton, texts)
    for others in (
        vectors(triton, *([text] for text in texts)),
        vectors(triton, texts[::-1])[::-1],
        vectors(triton, *(texts[start : start + 5] for start in range(0, len(texts), 5))),
    ):
        assert distances(together, others).max() <= LARGEST_BATCH_EFFECT


def test_largest_batches_are_answered(triton: TritonSession, settings: Settings, texts: list[str]) -> None:
    """Requests of as many texts as Triton takes, several at once, and a part of one at the end."""
    short = [" ".join(text.split()[: 1 + number % 9]) for number, text in enumerate(texts)]
    many = (short * 12)[:1100]
    found = vectors(triton, *(many[start : start + 512] for start in range(0, len(many), 512)))
    assert found.shape == (1100, 384)
    assert distances(found, np.tile(float32(settings, short), (12, 1))[:1100]).max() <= 1 - LEAST_COSINE


def test_golden_values_hold(triton: TritonSession, settings: Settings) -> None:
    (result,) = verify_models(settings, triton, [DENSE])
    assert result.problem is None
    assert result.figure.startswith("lowest cosine 1.0000 of 6 texts, against transformers")


def test_int8_home_is_computed_once_more(embedder: Embedder, corpus: Path, home: Path) -> None:
    variables = {
        "EMBEDDER_CORPUS_DIR": str(corpus),
        "EMBEDDER_ENABLE_SPARSE": "false",
        "EMBEDDER_ENABLE_RERANK": "false",
    }
    said = f"dense: model '{DENSE}' is built in bf16 now: its vectors of int8 are computed anew, once"
    before = None
    for precision, expected in (("int8", False), ("bf16", True), ("bf16", False)):
        result = embedder("run", **variables, EMBEDDER_MODEL_REPOSITORY=str(repository_in(precision)))
        assert result.returncode == 0, result.stderr
        assert (said in " ".join(result.stdout.split())) == expected
        assert (said in json.loads((home / "runs" / "latest.json").read_text("utf-8"))["warnings"]) == expected
        rows = TableStore(home).read("dense_embeddings", "animals").sort("chunk_id")
        assert rows["model_fingerprint"].n_unique() == 1
        if before is not None:
            anew = rows["model_fingerprint"][0] != before["model_fingerprint"][0]
            assert anew == expected
            vectors_now, earlier = (np.stack(each["embedding"].to_list()) for each in (rows, before))
            assert distances(vectors_now, earlier).max() < 0.02
            assert rows.equals(before) != expected
        before = rows


def test_one_thread_answers_alike(settings: Settings, triton: TritonSession, texts: list[str], tmp_path: Path) -> None:
    """The number of threads is no part of the fingerprint."""
    repository = Path(shutil.copytree(settings.model_repository, tmp_path / "models"))
    write_tuning(repository / DENSE, Tuning("bf16", 1 if cpu_options.cores() > 1 else 2), "cpu")
    changed = settings.model_copy(update={"model_repository": repository, "home": tmp_path / "home"})
    other = TritonSession(changed)
    try:
        assert other.fingerprint(DENSE, "dense") == triton.fingerprint(DENSE, "dense")
        assert distances(vectors(other, texts), vectors(triton, texts)).max() <= LARGEST_BATCH_EFFECT
    finally:
        other.close()
