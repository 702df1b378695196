import hashlib
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.errors import QualityError
from embedder_assets.export.export import ExportOutcome, ExportStage, export_folder, read_manifest
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.rerank import RerankStage
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
    DENSE,
    RERANK,
    SECOND,
    FakeTriton,
    dense_vector,
    make_chunks,
    make_meter,
    make_queries,
    make_settings,
    second_vector,
)

ALL_FILES = {
    "chunks.parquet",
    "dense.npz",
    "qdrant_points.jsonl",
    "fused_candidates.parquet",
    "reranked_candidates.parquet",
}
TEXTS = ("red apple", "blue sky")


@pytest.fixture
def materialize(tmp_path):
    """Updates all tables of a collection, as a run does, and then its export."""
    store, triton = TableStore(tmp_path), FakeTriton()

    def materialize(
        *, chunks: pl.DataFrame | None = None, collection: str = "kb", formula: ScoreFormula | None = None, **values
    ) -> ExportOutcome:
        triton.rerank_formula = formula or ScoreFormula()
        settings = make_settings(tmp_path, **values)
        chunks = make_chunks(*TEXTS, collection=collection) if chunks is None else chunks
        store.replace("chunks", collection, chunks)
        store.replace("queries", collection, make_queries("apple", collection=collection))
        models = RetrievalModels.of(settings, triton)
        dense = [DenseEncoder(*model) for model in models.dense]
        EmbeddingStage(store, triton, settings, dense).run(collection, make_meter())
        if models.sparse:
            sparse = [SparseEncoder(*models.sparse)]
            EmbeddingStage(store, triton, settings, sparse).run(collection, make_meter())
        FuseStage(store, triton, settings, models).run(collection, make_meter())
        if settings.enable_rerank:
            RerankStage(store, triton, settings, ModelVersion(RERANK, str(formula))).run(collection, make_meter())
        return ExportStage(store, settings, models).run(collection)

    return materialize


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def points(outcome: ExportOutcome) -> list[dict]:
    lines = (outcome.folder / "qdrant_points.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_folder_has_all_files_and_manifest(materialize, tmp_path):
    outcome = materialize()
    assert outcome.written
    assert outcome.folder == tmp_path / "exports" / "kb"
    assert set(files(outcome.folder)) == ALL_FILES | {"manifest.json"}
    assert outcome.files == {name: (outcome.folder / name).stat().st_size for name in ALL_FILES}


def test_manifest_has_sizes_and_digests(materialize):
    folder = materialize().folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["collection"], manifest["chunk_count"]) == ("kb", 2)
    assert {entry["name"] for entry in manifest["files"]} == ALL_FILES
    for entry in manifest["files"]:
        content = (folder / entry["name"]).read_bytes()
        assert (entry["size_bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_second_run_writes_nothing(materialize):
    first = materialize()
    before = files(first.folder)
    again = materialize()
    assert (again.written, again.files, files(again.folder)) == (False, first.files, before)


def test_an_edited_chunk_rewrites_the_files(materialize):
    materialize()
    outcome = materialize(chunks=make_chunks("red apple", "green sky"))
    assert outcome.written
    assert [point["payload"]["text"] for point in points(outcome)] == ["red apple", "green sky"]


def test_metadata_is_exported_with_the_chunks(materialize, tmp_path):
    chunks = make_chunks(*TEXTS)
    label(tmp_path, chunks, '{"acl": ["group:a"], "note": "a\\nb } é", "year": 2020}')
    outcome = materialize(chunks=chunks)
    rows = pl.read_parquet(outcome.folder / "chunks.parquet", columns=["metadata", "public"]).rows()
    assert [(json.loads(text)["year"], public) for text, public in rows] == [(2020, True)] * 2
    expected = {"acl": ["group:a"], "note": "a\nb } é", "year": 2020}
    assert [point["payload"]["metadata"] for point in points(outcome)] == [expected] * 2
    assert {point["payload"]["public"] for point in points(outcome)} == {True}


def test_changed_metadata_rewrites_the_files(materialize, tmp_path):
    chunks = make_chunks(*TEXTS)
    materialize(chunks=chunks)
    label(tmp_path, chunks, '{"year": 2021}')
    outcome = materialize(chunks=chunks)
    assert outcome.written
    assert points(outcome)[0]["payload"]["metadata"] == {"year": 2021}
    assert not materialize(chunks=chunks).written


def label(home: Path, chunks: pl.DataFrame, metadata: str) -> None:
    documents = chunks.select("collection", "doc_id").unique()
    documents = documents.with_columns(metadata=pl.lit(metadata), public=pl.lit(value=True))
    rows = pl.concat([pl.DataFrame(schema=SCHEMAS["documents"]), documents], how="diagonal")
    TableStore(home).replace("documents", "kb", rows)


@pytest.mark.parametrize("column", ["start", "end"])
def test_moved_offsets_rewrite_the_files(materialize, column):
    materialize()
    outcome = materialize(chunks=make_chunks(*TEXTS).with_columns(pl.col(column) + 1))
    assert outcome.written
    assert points(outcome)[0]["payload"][column] == make_chunks(*TEXTS)[column][0] + 1


def test_pages_of_chunks_are_exported(materialize):
    materialize()
    outcome = materialize(chunks=make_chunks(*TEXTS).with_columns(page=pl.lit(3), last_page=pl.lit(4)))
    assert outcome.written
    assert {(point["payload"]["page"], point["payload"]["last_page"]) for point in points(outcome)} == {(3, 4)}
    assert pl.read_parquet(outcome.folder / "chunks.parquet").select("page", "last_page").unique().rows() == [(3, 4)]


@pytest.mark.parametrize("change", [{"heading": pl.lit("Manual")}, {"token_count": pl.col("token_count") + 1}])
def test_changed_chunk_column_rewrites_the_files(materialize, change):
    materialize()
    assert materialize(chunks=make_chunks(*TEXTS).with_columns(**change)).written


def test_changed_candidate_order_rewrites_the_files(materialize):
    materialize(formula=ScoreFormula(cross_encoder=0))
    assert materialize(formula=ScoreFormula(cross_encoder=5)).written


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"cut")])
@pytest.mark.parametrize("name", ["dense.npz", "manifest.json"])
def test_a_lost_or_cut_file_is_written_again(materialize, name, harm):
    folder = materialize().folder
    harm(folder / name)
    assert materialize().written
    assert set(files(folder)) == ALL_FILES | {"manifest.json"}


def test_disabled_stage_is_not_exported(materialize):
    materialize()
    outcome = materialize(enable_rerank=False, enable_sparse=False)
    assert set(files(outcome.folder)) == ALL_FILES - {"reranked_candidates.parquet"} | {"manifest.json"}
    assert all(set(point["vector"]) == {"dense"} for point in points(outcome))
    assert "indices" not in pl.read_parquet(outcome.folder / "chunks.parquet").columns


def test_export_has_texts_without_table_headers(materialize):
    outcome = materialize(chunks=make_chunks(*TEXTS).with_columns(table_header=pl.lit("| Bolt |")))
    exported = pl.read_parquet(outcome.folder / "chunks.parquet")
    assert sorted(exported["text"]) == sorted(TEXTS)
    assert not {"title", "context", "table_header"} & set(exported.columns)


def test_export_removes_files_of_killed_export(materialize):
    folder = materialize().folder
    (folder / "manifest.json").unlink()  # what a killed export has done first
    materialize(enable_rerank=False, enable_sparse=False)
    assert set(files(folder)) == ALL_FILES - {"reranked_candidates.parquet"} | {"manifest.json"}


def test_qdrant_points_have_named_vectors(materialize):
    found = points(materialize())
    assert len(found) == 2
    for point, text in zip(found, TEXTS, strict=True):
        assert str(uuid.UUID(point["id"])) == point["id"]
        assert point["vector"]["dense"] == pytest.approx(dense_vector(text).tolist())
        sparse = point["vector"]["sparse"]
        assert len(sparse["indices"]) == len(set(sparse["indices"])) == len(sparse["values"]) == 2
        assert (point["payload"]["text"], point["payload"]["collection"]) == (text, "kb")


def test_several_dense_models_have_named_vectors(materialize):
    materialize()
    outcome = materialize(dense_models=(DENSE, SECOND))
    names = {f"dense.{DENSE}": dense_vector, f"dense.{SECOND}": second_vector}
    assert set(outcome.files) == ALL_FILES - {"dense.npz"} | {f"{name}.npz" for name in names}
    assert not (outcome.folder / "dense.npz").exists()
    for name, vector_of in names.items():
        vectors = [vector_of(text) for text in TEXTS]
        with np.load(outcome.folder / f"{name}.npz") as archive:
            assert archive["embedding"] == pytest.approx(np.stack(vectors))
        for point, vector in zip(points(outcome), vectors, strict=True):
            assert set(point["vector"]) == {*names, "sparse"}
            assert point["vector"][name] == pytest.approx(vector.tolist())
    columns = pl.read_parquet(outcome.folder / "chunks.parquet").columns
    assert {f"embedding.{DENSE}", f"embedding.{SECOND}"} <= {*columns}
    assert "embedding" not in columns
    assert set(materialize().files) == ALL_FILES
    assert set(files(outcome.folder)) == ALL_FILES | {"manifest.json"}


def test_the_npz_pairs_chunk_ids_with_unit_vectors(materialize):
    outcome = materialize()
    with np.load(outcome.folder / "dense.npz") as archive:
        assert archive["chunk_id"].tolist() == [point["id"] for point in points(outcome)]
        assert archive["embedding"].dtype == np.float32
        assert archive["embedding"] == pytest.approx(np.stack([dense_vector(text) for text in TEXTS]))


def test_candidates_are_exported_best_first(materialize):
    folder = materialize().folder
    for name in ("fused_candidates", "reranked_candidates"):
        rows = pl.read_parquet(folder / f"{name}.parquet")
        assert rows["rank"].to_list() == [1, 2]
        assert "input_digest" not in rows.columns


def test_vectors_of_another_model_are_not_exported(materialize, tmp_path):
    outcome = materialize()
    store = TableStore(tmp_path)
    stale = store.read("dense_embeddings", "kb").with_columns(model_fingerprint=pl.lit("older"))
    store.append("dense_embeddings", stale)
    (outcome.folder / "manifest.json").unlink()
    assert len(points(materialize())) == 2


def test_an_empty_collection_exports_empty_files(materialize):
    outcome = materialize(chunks=make_chunks())
    assert set(outcome.files) == ALL_FILES
    assert points(outcome) == []


def test_texts_of_any_script_stay_readable(materialize):
    outcome = materialize(chunks=make_chunks("naïve 日本語\u2028line"))
    lines = (outcome.folder / "qdrant_points.jsonl").read_text("utf-8").strip("\n").split("\n")
    assert json.loads(lines[0])["payload"]["text"] == "naïve 日本語\u2028line"
    assert "日本語" in lines[0]


@pytest.mark.parametrize("name", ["a/b", "../up", "two words", "it's"])
def test_folders_lie_directly_in_exports(tmp_path, name):
    folder = export_folder(tmp_path, name)
    assert folder.resolve().parent == tmp_path / "exports"


def test_an_unreadable_manifest_counts_as_none(tmp_path):
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("{")
    assert read_manifest(tmp_path) is None


def test_nothing_unmeasured_is_exported(materialize, tmp_path):
    """Also where the checks are not of the run: the exports alone were materialized."""
    materialize()
    before = {path.name: path.read_bytes() for path in export_folder(tmp_path, "kb").iterdir()}
    baseline = pl.DataFrame(
        {"collection": "kb", "ranking": "fused", "measure": "nDCG@10", "value": 1.0, "queries": 1, "models": "{}"}
    )
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in SCHEMAS["quality_baselines"].items() if name not in baseline
    ]
    store = TableStore(tmp_path)
    store.append("quality_baselines", baseline.with_columns(missing).with_columns(accepted_at=datetime.now(UTC)))
    (tmp_path / "corpus" / "kb").mkdir(parents=True)
    with pytest.raises(QualityError, match=r"no judged query is left.*baseline drop --collection kb"):
        materialize(chunks=make_chunks("other", "texts"), corpus_dir=tmp_path / "corpus")
    assert {path.name: path.read_bytes() for path in export_folder(tmp_path, "kb").iterdir()} == before
    store.remove("quality_baselines", "kb")
    assert materialize(chunks=make_chunks("other", "texts"), corpus_dir=tmp_path / "corpus").written
