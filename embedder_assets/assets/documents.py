"""``documents``: the text of every document of a collection, and a row for each that could not be used."""

import hashlib

import dagster as dg
import polars as pl

from embedder_assets.assets.materialize import Events, Metadata, collection_asset, materialize_each
from embedder_assets.assets.preview import table_preview
from embedder_assets.pipeline import Pipeline
from embedder_assets.stages.corpus import Collection, find_collection
from embedder_assets.stages.extract import Document, DocumentIssue, read_documents
from embedder_assets.tables.schemas import SCHEMAS

ISSUES_LOGGED = 20


@collection_asset(group_name="corpus", kinds={"delta"})
def documents(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The text of every document of a collection, extracted from Markdown, text, reST, HTML, PDF, DOCX or BEIR."""

    def work(name: str) -> Metadata:
        collection = find_collection(pipeline.settings.corpus_dir, name)
        rows, issues = _read(collection, pipeline.settings.max_document_mb)
        for issue in issues[:ISSUES_LOGGED]:
            context.log.warning(f"{issue.collection}/{issue.path}: {issue.message}")
        if not rows.height:
            context.log.warning(
                f"collection '{name}' holds no document that can be used: put Markdown, text, reST, HTML, PDF, DOCX "
                f"files or a corpus.jsonl into {collection.root}"
            )
        pipeline.store.replace("documents", name, rows)
        issue_rows = pl.DataFrame([vars(issue) for issue in issues], schema=SCHEMAS["document_issues"])
        pipeline.store.replace("document_issues", name, issue_rows)
        return {
            "dagster/row_count": rows.height,
            "issues": len(issues),
            "characters": int(rows["text"].str.len_chars().sum()),
            "folder": dg.MetadataValue.path(collection.root),
            "preview": table_preview(rows, ["doc_id", "title", "media_type", "size_bytes"]),
            "issues_preview": table_preview(issue_rows, ["path", "kind", "message"]),
        }

    yield from materialize_each(context, pipeline, work)


def _read(collection: Collection, max_document_mb: float) -> tuple[pl.DataFrame, list[DocumentIssue]]:
    rows, issues = [], []
    for item in read_documents(collection, max_document_mb=max_document_mb):
        if isinstance(item, Document):
            rows.append({**vars(item), "content_sha256": hashlib.sha256(item.text.encode()).hexdigest()})
        else:
            issues.append(item)
    return pl.DataFrame(rows, schema=SCHEMAS["documents"]), issues
