"""The rules that rows must keep, free of Dagster: each looks at one collection and returns a finding, or None."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from embedder_assets.checks.finding import Finding, Rule, error_or_none
from embedder_assets.embedding.dense import UNIT_LENGTH_TOLERANCE, as_matrix, token_budget
from embedder_assets.embedding.failures import known_failures, known_failures_on_queries
from embedder_assets.embedding.keys import KEY, ModelVersion, is_of
from embedder_assets.embedding.lexical import lexical_model
from embedder_assets.export.export import export_folder, read_manifest
from embedder_assets.run_context import Pipeline
from embedder_assets.serving.models.description import Stage
from embedder_assets.tables.digest_ranges import digest_ranges

FAILED_ALONE = "chunks without a row because the model fails on them (inference_issues), tried again in the next run"


def unique_document_ids(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every document id occurs once."""
    return error_or_none(_duplicates(pipeline.store.read("documents", collection, ["doc_id"]), ["doc_id"]))


def unique_chunk_ids(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every chunk id occurs once."""
    return error_or_none(_duplicates(pipeline.store.read("chunks", collection, ["chunk_id"]), ["chunk_id"]))


def offsets_reproduce_text(pipeline: Pipeline, collection: str) -> Finding | None:
    """The document's text from ``start`` to ``end`` is the chunk's text."""
    store = pipeline.store
    wrong, seen = [], 0
    for documents in store.batches("documents", collection, ["doc_id", "text"]):
        texts = dict(documents.iter_rows())
        ids = documents["doc_id"]
        # The bounds let Parquet leave out what cannot be among them.
        of_these = pl.col("doc_id").is_between(pl.lit(ids.min()), pl.lit(ids.max())) & pl.col("doc_id").is_in(
            ids.implode()
        )
        chunks = store.read("chunks", collection, ["chunk_id", "doc_id", "start", "end", "text"], where=of_these)
        seen += chunks.height
        wrong += [name for name, doc_id, start, end, text in chunks.iter_rows() if texts[doc_id][start:end] != text]
    if seen != store.count("chunks", collection):
        known = store.read("documents", collection, ["doc_id"])
        orphans = store.read("chunks", collection, ["chunk_id", "doc_id"]).join(known, on="doc_id", how="anti")
        wrong += orphans["chunk_id"].to_list()
    return _wrong(wrong, "chunks whose offsets do not give their text")


def every_document_has_chunks(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every document with text has a chunk, and every chunk has its document."""
    store = pipeline.store
    documents = store.read("documents", collection, ["doc_id"])
    parts = [frame.unique() for frame in store.batches("chunks", collection, ["doc_id"])]
    chunked = pl.concat([documents.clear(), *parts]).unique()
    lacking = documents.join(chunked, on="doc_id", how="anti")["doc_id"].sort()
    # Few, if any: so their texts are read one by one.
    without = [doc_id for doc_id in lacking if _has_text(pipeline, collection, doc_id)]
    unknown = chunked.join(documents, on="doc_id", how="anti")["doc_id"].sort()
    return _wrong(without, "documents with text and without a chunk") or _wrong(
        unknown, "documents that have chunks and are not in the table"
    )


def within_token_budget(pipeline: Pipeline, collection: str) -> Finding | None:
    """No chunk is longer than what every dense model reads."""
    budget = token_budget(pipeline.settings, pipeline.triton)
    longer = pipeline.store.read("chunks", collection, ["chunk_id"], where=pl.col("token_count") > budget)
    return _wrong(longer["chunk_id"], f"chunks of more than {budget} tokens")


def dense_coverage(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every chunk has exactly one dense vector of each dense model, but those that the model is known to fail on."""
    return _all_models_cover(pipeline, collection, "dense", pipeline.settings.dense_models)


def dense_unit_vectors(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every dense vector is finite, has length 1, and the dimension of its model."""
    dimensions: dict[str, int] = {}
    for rows in pipeline.store.batches("dense_embeddings", collection, ["model", "chunk_id", "embedding"]):
        for (model,), of_model in rows.group_by("model"):
            if problem := _unit_vectors(str(model), of_model, dimensions):
                return problem
    return None


def sparse_coverage(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every chunk has exactly one sparse vector: of the current model or a lexical one, but those it fails on."""
    model, lexical = pipeline.settings.sparse_model, lexical_model(pipeline.settings)
    found = _all_models_cover(pipeline, collection, "sparse", [model], lexical)
    if lexical is None or (found and found.level == "error"):
        return found
    count = pipeline.store.read("sparse_embeddings", collection, KEY, where=is_of(lexical)).height
    stands_in = f"{count} chunks have a lexical vector in the place of one of model '{model}'" if count else None
    notes = "; ".join(filter(None, [found and found.text, stands_in]))
    return Finding("note", notes) if notes else None


def one_fingerprint_per_model_in(table: str) -> Rule:
    """The rule ``one_fingerprint_per_model`` of an embedding table."""

    def one_fingerprint_per_model(pipeline: Pipeline, collection: str) -> Finding | None:
        """All rows of a model name are of one fingerprint."""
        columns = ["model", "model_fingerprint"]
        found = [frame.unique() for frame in pipeline.store.batches(table, collection, columns)]
        rows = pl.concat(found).unique() if found else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
        models = rows.group_by("model").agg(pl.col("model_fingerprint").sort()).sort("model")
        mixed = models.filter(pl.col("model_fingerprint").list.len() > 1)
        texts = [f"model '{name}' has rows of {' and '.join(prints)}" for name, prints in mixed.iter_rows()]
        return Finding("error", "; ".join(texts)) if texts else None

    return one_fingerprint_per_model


def sparse_weights(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every sparse weight is finite and positive, and has an index."""
    weight = pl.element()
    uneven, wrong = [], []
    for rows in pipeline.store.batches("sparse_embeddings", collection, ["chunk_id", "indices", "values"]):
        uneven += rows.filter(pl.col("indices").list.len() != pl.col("values").list.len())["chunk_id"].to_list()
        fine = pl.col("values").list.eval((weight > 0) & weight.is_finite()).list.all()
        wrong += rows.filter(~fine)["chunk_id"].to_list()
    return _wrong(uneven, "rows with unequal numbers of indices and values") or _wrong(
        wrong, "rows with weights that are negative, zero or not finite"
    )


def fused_every_query(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every query has fused candidates, ranked 1, 2, 3 …, but those that the models are known to fail on."""
    return _every_query_ranked(pipeline, collection, "fused_candidates")


def reranked_every_query(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every query has reranked candidates, ranked 1, 2, 3 …, but those that the models are known to fail on."""
    return _every_query_ranked(pipeline, collection, "reranked_candidates")


def export_digests(pipeline: Pipeline, collection: str) -> Finding | None:
    """Every exported file is there with the size and the digest that the export's manifest says."""
    folder = export_folder(pipeline.settings.home, collection)
    manifest = read_manifest(folder)
    if manifest is None:
        return Finding("error", f"{folder} has no readable manifest")
    wrong = [entry["name"] for entry in manifest["files"] if _digest(folder / entry["name"]) != entry["sha256"]]
    return _wrong(wrong, "files that are missing or differ from the manifest")


def _has_text(pipeline: Pipeline, collection: str, doc_id: str) -> bool:
    texts = pipeline.store.read("documents", collection, ["text"], where=pl.col("doc_id") == doc_id)["text"]
    return any(text.strip() for text in texts)


def _digest(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _all_models_cover(
    pipeline: Pipeline, collection: str, stage: Stage, models: Sequence[str], stand_in: ModelVersion | None = None
) -> Finding | None:
    found, known = [], []
    total = pipeline.store.count("chunks", collection)
    for model in models:
        named = ModelVersion(model, pipeline.triton.fingerprint(model, stage))
        missing, listed, repeated = _uncovered(pipeline, collection, stage, [named, *([stand_in] if stand_in else [])])
        problem = _examples(missing, f"of {total} chunks without a row") or _duplicates(repeated, KEY)
        if problem:
            found.append(f"model '{model}': {problem}")
        if listed:
            known.append(f"model '{model}': {_examples(listed, f'of {total} {FAILED_ALONE}')}")
    if found:
        return Finding("error", "; ".join(found))
    return Finding("note", "; ".join(known)) if known else None


def _uncovered(
    pipeline: Pipeline, collection: str, stage: Stage, models: Sequence[ModelVersion]
) -> tuple[list[str], list[str], pl.DataFrame]:
    """Chunks without a row of any of some models, those that the first is known to fail on, and rows that repeat."""
    store = pipeline.store
    failures = known_failures(store, collection, models[0])
    missing: list[str] = []
    listed: list[str] = []
    repeated = []
    for part in digest_ranges(store.count("chunks", collection)):
        chunks = store.read("chunks", collection, KEY, where=part.rows)
        of_models = pl.any_horizontal([is_of(model) for model in models])
        rows = store.read(f"{stage}_embeddings", collection, KEY, where=of_models & part.rows)
        lacking = chunks.join(rows, on=KEY, how="anti")
        missing += lacking.join(failures, on=KEY, how="anti")["chunk_id"].to_list()
        listed += lacking.join(failures, on=KEY, how="semi")["chunk_id"].to_list()
        repeated.append(rows.filter(rows.is_duplicated()))
    return missing, listed, pl.concat(repeated)


def _unit_vectors(model: str, rows: pl.DataFrame, dimensions: dict[str, int]) -> Finding | None:
    """What is wrong with some rows of a model; its dimension is kept in ``dimensions``."""
    lengths = rows["embedding"].list.len()
    if lengths.n_unique() != 1 or dimensions.setdefault(model, lengths[0]) != lengths[0]:
        return Finding("error", f"model '{model}': vectors of different dimensions")
    norms = np.linalg.norm(as_matrix(rows["embedding"]), axis=1)
    wrong = rows.filter(~pl.Series(np.isclose(norms, 1.0, atol=UNIT_LENGTH_TOLERANCE)))
    return _wrong(wrong["chunk_id"], f"vectors of model '{model}' that are not finite or not of length 1")


def _every_query_ranked(pipeline: Pipeline, collection: str, table: str) -> Finding | None:
    if not pipeline.store.count("chunks", collection):
        return None
    queries = pipeline.store.read("queries", collection, ["query_id"])
    rows = pipeline.store.read(table, collection, ["query_id", "rank"])
    missing = queries.join(rows, on="query_id", how="anti")
    listed = missing
    # A dense model that answers ranks whatever chunks there are, so only a failure of all of them explains it.
    for model in pipeline.settings.dense_models:
        named = ModelVersion(model, pipeline.triton.fingerprint(model, "dense"))
        listed = listed.join(known_failures_on_queries(pipeline.store, collection, named), on="query_id", how="semi")
    missing = missing.join(listed, on="query_id", how="anti")
    ranks = rows.group_by("query_id").agg(complete=pl.col("rank").sort() == pl.int_range(1, pl.len() + 1))
    broken = ranks.filter(~pl.col("complete").list.all())
    problem = _wrong(missing["query_id"], "queries without a candidate") or _wrong(
        broken["query_id"], "queries whose ranks are not 1, 2, 3 …"
    )
    known = _examples(listed["query_id"], "queries without a candidate because the models fail on them")
    return problem or (Finding("note", known) if known else None)


def _duplicates(rows: pl.DataFrame, key: list[str]) -> str | None:
    repeated = rows.select(key).filter(rows.select(key).is_duplicated()).unique(maintain_order=True)
    return _examples([" ".join(row) for row in repeated.iter_rows()], "keys that occur more than once")


def _wrong(wrong: list[str] | pl.Series, what: str) -> Finding | None:
    return error_or_none(_examples(wrong, what))


def _examples(wrong: list[str] | pl.Series, what: str) -> str | None:
    names = list(wrong)
    return f"{len(names)} {what}, for example {', '.join(map(str, names[:3]))}" if names else None
