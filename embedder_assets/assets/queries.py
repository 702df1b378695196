"""``queries``: the questions that a collection comes with, or, where it has none, questions made from its headings."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.documents import documents
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_each
from embedder_assets.assets.support.preview import table_preview
from embedder_assets.corpus.collections import BEIR_QUERIES, find_collection
from embedder_assets.corpus.markdown import HEADING_SEPARATOR
from embedder_assets.corpus.queries import load_queries, refuse_empty_folder, synthetic_queries
from embedder_assets.errors import CorpusError
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore


@collection_asset(deps=[documents, chunks], group_name="retrieval", kinds={"delta"}, tags={"stage": "queries"})
def queries(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The questions of a collection: its own (provided), or made from titles and headings (synthetic)."""

    def work(tables: TableStore, name: str) -> Metadata:
        collection = find_collection(pipeline.settings.corpus_dir, name)
        try:
            found, issues = load_queries(collection)
        except CorpusError as error:
            return _kept(context, tables, name, error)
        for issue in issues:
            context.log.warning(one_line(f"{issue.collection}/{issue.path}: {issue.message}"))
        if not found:
            if tables.count("documents", name):
                refuse_empty_folder(collection)
            found = synthetic_queries(name, _titles(tables, name))
        rows = pl.DataFrame([vars(query) for query in found], schema=SCHEMAS["queries"])
        tables.replace("queries", name, rows)
        return {
            "dagster/row_count": rows.height,
            "source": found[0].source if found else "none",
            "issues": len(issues),
            "preview": table_preview(rows, ["query_id", "text", "source"]),
        }

    yield from materialize_each(context, pipeline, work)


def _kept(context: dg.AssetExecutionContext, tables: TableStore, name: str, error: CorpusError) -> Metadata:
    """What cannot be read is not gone: the rows stay, and other collections go on, where ``document_issues`` says so.

    Raises:
        CorpusError: It does not: otherwise it would not be reported.
    """
    if {".", BEIR_QUERIES}.isdisjoint(tables.read("document_issues", name, ["path"])["path"]):
        raise error
    context.log.warning(one_line(f"{name}: the queries stay as they were. {error}"))
    return {"dagster/row_count": tables.count("queries", name), "note": one_line(str(error))}


def _titles(tables: TableStore, name: str) -> Iterator[tuple[str, str]]:
    for titles in tables.batches("documents", name, ["doc_id", "title"]):
        yield from titles.iter_rows()
    for headings in tables.batches("chunks", name, ["doc_id", "heading"]):
        for doc_id, heading in headings.unique().iter_rows():
            for part in heading.split(HEADING_SEPARATOR):
                yield doc_id, part
