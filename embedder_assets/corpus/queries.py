"""The queries of a collection and their judgements: those that it carries, or queries made from its headings."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedder_assets.corpus.beir import read_rows
from embedder_assets.corpus.collections import BEIR_QRELS, BEIR_QUERIES, Collection, visible_entries
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.corpus.markdown import HEADING_SEPARATOR
from embedder_assets.corpus.source_files import own_file, read_own_file
from embedder_assets.errors import CorpusError
from embedder_assets.sanitize import one_line

PROVIDED = "provided"
SYNTHETIC = "synthetic"

MAX_SYNTHETIC = 50  # each costs a ranking in every run, and headings are no substitute for real questions
_MAX_QUERY_BYTES = 1_000_000
_QRELS_HEADER = ["query-id", "corpus-id", "score"]
_MAX_DOCUMENTS_PER_QUERY = 3  # a heading of more documents than this asks for none of them
_NUMBERING = re.compile(r"^(?:(?:chapter|section|part|appendix)\s+\w+\s*[:.]?\s+|[a-z]?\d+(?:\.\d+)*[.):]?\s+)", re.I)
_BOILERPLATE = """
about abstract acknowledgements acknowledgments alternatives appendix background bibliography changelog conclusion
conclusions contents contributing contributors copyright definitions description details discussion drawbacks example
examples faq foreword glossary guide history home index installation introduction license links methods motivation
note notes overview preface rationale readme references requirements results scope summary terminology todo
unresolved usage
"""


@dataclass(frozen=True)
class Query:
    """One query; ``source`` is ``provided`` or ``synthetic``."""

    collection: str
    query_id: str
    text: str
    source: str


def load_queries(collection: Collection) -> tuple[list[Query], list[DocumentIssue]]:
    """Read ``queries.jsonl`` at the top of a collection; a line that cannot be used becomes an issue.

    Raises:
        CorpusError: If the file is there but cannot be read.
    """
    path = own_file(collection, BEIR_QUERIES)
    queries: list[Query] = []
    issues: list[DocumentIssue] = []
    if path is None:
        return queries, issues
    for row in read_rows(path, collection.name, max_row_bytes=_MAX_QUERY_BYTES):
        if isinstance(row, DocumentIssue):
            issues.append(row)
        elif row.text.strip():
            queries.append(Query(collection.name, row.row_id, row.text.strip(), PROVIDED))
        else:
            message = one_line(f"expected a text, got none for query {row.row_id!r}. Correct or remove this line.")
            issues.append(DocumentIssue(collection.name, path.name, "empty", message))
    return queries, issues


def refuse_empty_folder(collection: Collection) -> None:
    """Tells a collection without queries from one whose folder was lost since its documents were read.

    Raises:
        CorpusError: If nothing at all is in the folder, or it cannot be read.
    """
    if not visible_entries(collection.root):
        raise CorpusError(
            str(collection.root),
            expected="the files of a collection that has documents",
            got="an empty folder",
            remedy="The queries are as they were. Check that the folder is mounted, then run again.",
        )


def synthetic_queries(
    collection_name: str, titles_and_headings: Iterable[tuple[str, str]], limit: int = MAX_SYNTHETIC
) -> list[Query]:
    """Make queries from what documents call themselves and their parts.

    A text that many documents share, or that says nothing ("Introduction"), makes no query. Which queries are taken
    depends on their own text only, so that a change to one document hardly changes the set.

    Args:
        collection_name: The collection that the queries are for.
        titles_and_headings: Pairs of a document's id and its title, or the heading path of one of its parts.
        limit: The largest number of queries to make.

    Returns:
        The queries in the order of their ids.
    """
    documents: dict[str, set[str]] = defaultdict(set)
    wording: dict[str, str] = {}
    for doc_id, heading in titles_and_headings:
        text = _query_text(heading)
        key = text.casefold()
        # One more than are allowed tells as much as all of them.
        if len(documents[key]) <= _MAX_DOCUMENTS_PER_QUERY:
            documents[key].add(doc_id)
        wording[key] = min(text, wording.get(key, text))
    telling = [key for key, ids in documents.items() if _is_telling(key) and len(ids) <= _MAX_DOCUMENTS_PER_QUERY]
    queries = [Query(collection_name, _synthetic_id(key), wording[key], SYNTHETIC) for key in telling]
    return sorted(queries, key=lambda query: query.query_id)[: max(limit, 0)]


def load_qrels(collection: Collection) -> dict[str, dict[str, int]]:
    """Read ``qrels.tsv``: for each query the judged documents and their scores; empty where there is no such file.

    Raises:
        CorpusError: If the file cannot be read, or a line is malformed or contradicts an earlier one.
    """
    path = own_file(collection, BEIR_QRELS)
    qrels: dict[str, dict[str, int]] = {}
    if path is None:
        return qrels
    lines = read_own_file(path).removesuffix("\n").split("\n")
    if lines[0].split("\t") != _QRELS_HEADER:
        raise _malformed(path, 1, "the header 'query-id', 'corpus-id', 'score', separated by tabs", lines[0])
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            query_id, doc_id, score = _judgement(path, number, line)
            if qrels.setdefault(query_id, {}).setdefault(doc_id, score) != score:
                raise _malformed(path, number, "one score for each query and document", line)
    return qrels


def _query_text(heading: str) -> str:
    text = heading.rsplit(HEADING_SEPARATOR, 1)[-1]
    if not re.search(r"\s", text):
        text = re.sub(r"[-_]+", " ", text)  # a file name served as the title
    return " ".join(_NUMBERING.sub("", text.strip()).split())


def _is_telling(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]", text)) >= 3 and text.strip(" .:!?") not in _BOILERPLATE.split()


def _synthetic_id(text: str) -> str:
    return f"syn-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _judgement(path: Path, number: int, line: str) -> tuple[str, str, int]:
    fields = line.split("\t")
    try:
        query_id, doc_id, score = fields
        return sys.intern(query_id), doc_id, int(score)
    except ValueError as error:
        raise _malformed(path, number, "query id, document id and a whole number, separated by tabs", line) from error


def _malformed(path: Path, number: int, expected: str, line: str) -> CorpusError:
    return CorpusError(
        f"{path}:{number}", expected=expected, got=repr(line[:120]), remedy="Correct the file or remove it."
    )
