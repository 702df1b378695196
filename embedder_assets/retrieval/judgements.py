"""The judgements of a collection's queries, and an identity of them."""

from __future__ import annotations

from collections.abc import Mapping

from embedder_assets.corpus.collections import find_collection
from embedder_assets.corpus.queries import load_qrels
from embedder_assets.errors import EmbedderError
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import input_digest
from embedder_assets.tables.store import TableStore

# Query to document to grade; a document counts as relevant from grade 1 on.
Qrels = Mapping[str, Mapping[str, int]]


def judgements(store: TableStore, settings: Settings, collection: str) -> Qrels:
    """The judgements of those queries in the table that have a document of grade 1 or more.

    Raises:
        CorpusError: The collection is not there, or its judgements cannot be read.
    """
    query_ids = set(store.read("queries", collection, ["query_id"])["query_id"])
    qrels = load_qrels(find_collection(settings.corpus_dir, collection))
    return {query: grades for query, grades in judgements_that_count(qrels).items() if query in query_ids}


def judgements_that_count(qrels: Qrels) -> Qrels:
    """The judgements of those queries that have a document of grade 1 or more, without that of the query's own id.

    Where queries are documents too, each would find itself: BEIR's own tools leave such documents out
    (``ignore_identical_ids``).
    """
    others = {
        query: {document: grade for document, grade in grades.items() if document != query}
        for query, grades in qrels.items()
    }
    return {query: grades for query, grades in others.items() if is_judged(grades)}


def judgements_to_learn_from(store: TableStore, settings: Settings, collection: str) -> Qrels:
    """The same, and none where they cannot be read: that is for the evaluation to report, rankings go on without."""
    try:
        return judgements(store, settings, collection)
    except EmbedderError:
        return {}


def is_judged(grades: Mapping[str, int]) -> bool:
    """Whether a query has a relevant document."""
    return any(grade > 0 for grade in grades.values())


def digest_of_judgements(qrels: Qrels) -> str:
    """The same for the same judgements only."""
    return input_digest(
        f"{query}\x1f{document}\x1f{grade}"
        for query, grades in sorted(qrels.items())
        for document, grade in sorted(grades.items())
    )
