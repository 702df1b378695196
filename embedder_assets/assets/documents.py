"""``documents``: the text of every document of a collection, and a row for each that could not be used."""

import functools

import dagster as dg

from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_each
from embedder_assets.assets.support.preview import PREVIEW_ROWS, table_preview
from embedder_assets.corpus.collections import find_collection
from embedder_assets.corpus.document import worst_first
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.corpus.near_duplicates import update_near_duplicates
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.progress import LoggedProgress

ISSUES_LOGGED = 20
FIELDS_SHOWN = 100
FIELD_COLUMNS = ["field", "type", "documents", "conflicts"]


@collection_asset(group_name="corpus", kinds={"delta"}, tags={"stage": "ingest"})
def documents(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The text of every document of a collection, extracted from its file or its row of BEIR."""
    progress = LoggedProgress(pipeline.report, context.log.info)

    def work(tables: TableStore, name: str) -> Metadata:
        collection = find_collection(pipeline.settings.corpus_dir, name)
        done = functools.partial(progress, "documents", name)
        outcome = Ingest(tables, pipeline.settings, collection, done).run()
        near = update_near_duplicates(tables, name)
        issues = worst_first(outcome.issues)
        for path, message in issues.select("path", "message").head(ISSUES_LOGGED).iter_rows():
            context.log.warning(one_line(f"{name}/{path}: {message}"))
        if not outcome.rows:
            context.log.warning(
                one_line(
                    f"collection '{name}' holds no document that can be used: put a corpus.jsonl or files of a format "
                    f"that docs/input.md names (Markdown, HTML, PDF, Office, mails, …) into {collection.root}"
                )
            )
        shown = ["doc_id", "title", "media_type", "size_bytes"]
        return {
            "dagster/row_count": outcome.rows,
            "extracted": outcome.extracted,
            "moved": outcome.moved,
            "deleted": outcome.deleted,
            "kept": outcome.kept,
            "issues": outcome.issues.height,
            "new_issues": outcome.new_issues.height,
            "metadata_changed": outcome.metadata_changed,
            "metadata_fields": table_preview(outcome.fields, FIELD_COLUMNS, limit=FIELDS_SHOWN),
            "near_duplicates": near.duplicates,
            "pages": sum(batch["pages"].list.len().sum() for batch in tables.batches("documents", name, ["pages"])),
            "size_bytes": int(tables.read("documents", name, ["size_bytes"])["size_bytes"].sum()),
            "folder": dg.MetadataValue.path(collection.root),
            "preview": table_preview(tables.read("documents", name, shown, limit=PREVIEW_ROWS), shown),
            "issues_preview": table_preview(issues, ["path", "kind", "message", "first_seen"], whole=["message"]),
        }

    yield from materialize_each(context, pipeline, work)
