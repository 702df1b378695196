"""A dense model that reads title and headings in front of a chunk, in the real Triton."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from embedder_assets.serving.models.build import require_built
from embedder_assets.serving.models.description import load_description
from embedder_assets.serving.models.triton_config import render_config
from embedder_assets.tables.store import TableStore
from tests.support.command import Embedder
from tests.support.model_repositories import exact_repository, exact_variables

MODEL = "dense_minilm"
BODY = "".join(f"<p>Sentence {number} says how a ship crosses the sea in bad weather.</p>" for number in range(60))
TABLES = ("chunks", "dense_embeddings", "sparse_embeddings", "fused_candidates", "reranked_candidates")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default models, the dense one with a context."""
    folder = tmp_path_factory.mktemp("models") / "repository"
    shutil.copytree(exact_repository(), folder)
    model = folder / MODEL
    (model / "model.toml").write_text(f"context = true\n{(model / 'model.toml').read_text('utf-8')}", "utf-8")
    # The graph is the same, so it need not be built again from weights that are on the network.
    description, record = load_description(model), json.loads((model / "build.json").read_text("utf-8"))
    (model / "build.json").write_text(json.dumps(record | {"fingerprint": description.fingerprint("cpu")}), "utf-8")
    (model / "config.pbtxt").write_text(render_config(description, "cpu"), "utf-8")
    require_built(folder, MODEL)
    return folder


def write(corpus: Path, **titles: str) -> None:
    """Pages of one and the same text, each with a title."""
    (corpus / "kb").mkdir(parents=True, exist_ok=True)
    for name, title in titles.items():
        page = f"<html><head><title>{title}</title></head><body>{BODY}</body></html>"
        (corpus / "kb" / f"{name}.html").write_text(page, "utf-8")
    (corpus / "kb" / "queries.jsonl").write_text('{"_id": "q", "text": "gales at sea"}\n', "utf-8")


def rows(home: Path, table: str) -> pl.DataFrame:
    frame = TableStore(home).read(table, "kb")
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return frame.with_columns(
        pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(" ") for name in lists
    ).sort(pl.all())


def test_a_new_title_computes_its_chunks_and_no_other(
    embedder: Embedder, home: Path, tmp_path: Path, repository: Path
) -> None:
    corpus = tmp_path / "titled"

    def run(home: Path, **variables: str) -> dict[str, int]:
        result = embedder("run", "--corpus", str(corpus), EMBEDDER_HOME=str(home), **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        items: dict[str, int] = json.loads((home / "runs" / "latest.json").read_text("utf-8"))["dense_run"]["items"]
        return items

    with_context = {"EMBEDDER_MODEL_REPOSITORY": str(repository)}
    write(corpus, a="Storms of the north", b="Storms of the south")
    computed = run(home, **exact_variables())["computed"]
    plain = rows(home, "chunks")
    assert computed == plain["content_sha256"].n_unique() < plain.height  # both pages say the same
    cut = run(home, **with_context)
    chunks = rows(home, "chunks")
    assert cut == {"computed": chunks.height, "reused": 0}
    write(corpus, a="Storms of the north", b="Gales")
    of_b = chunks.filter(doc_id="b.html").height
    assert run(home, **with_context) == {"computed": of_b, "reused": chunks.height - of_b}
    assert set(rows(home, "chunks").filter(doc_id="b.html")["context"]) == {"Gales"}
    assert run(home, **with_context) == {"reused": chunks.height}
    run(tmp_path / "rebuilt", **with_context)
    for table in TABLES:
        assert rows(home, table).equals(rows(tmp_path / "rebuilt", table)), table
