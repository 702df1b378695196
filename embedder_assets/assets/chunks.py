"""``chunks``: the documents, cut at headings into pieces that every dense model reads whole."""

import hashlib
from dataclasses import fields

import dagster as dg
import polars as pl

from embedder_assets.assets.documents import documents
from embedder_assets.assets.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.assets.preview import histogram, table_preview
from embedder_assets.pipeline import Pipeline
from embedder_assets.stages.chunk import Chunker
from embedder_assets.stages.dense import token_budget
from embedder_assets.stages.document import Document
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.telemetry.record import StageMeter

# Raise it when the chunker's rules change: every document is then cut anew.
CHUNKING_RULES = "1"


@collection_asset(deps=[documents], group_name="corpus", kinds={"delta"})
def chunks(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Pieces of the documents, with exact character offsets, that fit the token budget of the dense models."""
    tokenizer_file = pipeline.triton.tokenizer_file(pipeline.settings.dense_models[0])
    max_tokens = token_budget(pipeline.settings, pipeline.triton)
    chunker = Chunker(tokenizer_file, max_tokens)
    tokenizer_digest = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    chunking = hashlib.sha256(f"{CHUNKING_RULES} {max_tokens} {tokenizer_digest}".encode()).hexdigest()[:16]

    def work(collection: str, meter: StageMeter) -> Metadata:
        texts = pipeline.store.read("documents", collection)
        done = pipeline.store.read("chunks", collection).filter(pl.col("chunking") == chunking)
        version = {"doc_id": "doc_id", "content_sha256": "document_sha256"}
        kept = done.join(texts.select(*version).rename(version), on=list(version.values()), how="semi")
        to_cut = texts.join(kept, left_on=list(version), right_on=list(version.values()), how="anti")
        rows = pl.concat([kept, _cut(chunker, to_cut, chunking, meter)]).sort("doc_id", "chunk_index")
        meter.count("reused", kept.height)
        pipeline.store.replace("chunks", collection, rows)
        return {
            "dagster/row_count": rows.height,
            "documents_cut": to_cut.height,
            "mean_tokens": round(float(rows["token_count"].mean() or 0), 1),  # type: ignore[arg-type]
            "token_lengths": histogram(rows["token_count"], "Tokens a chunk"),
            "preview": table_preview(rows, ["doc_id", "chunk_index", "heading", "token_count", "text"]),
        }

    yield from materialize_stage(context, pipeline, "chunk", work)


def _cut(chunker: Chunker, texts: pl.DataFrame, chunking: str, meter: StageMeter) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    for done, row in enumerate(texts.iter_rows(named=True), start=1):
        document_sha256 = row["content_sha256"]
        cut = chunker.chunk(Document(**{field.name: row[field.name] for field in fields(Document)}))
        rows += [{**vars(chunk), "document_sha256": document_sha256, "chunking": chunking} for chunk in cut]
        meter.progress(row["collection"], done, texts.height)
    meter.count("computed", len(rows))
    return pl.DataFrame(rows, schema=SCHEMAS["chunks"])
