"""Reads the files of a collection: each is a document, or holds several, as a mail or a file of JSON may."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from embedder_assets.corpus.collection_options import CollectionOptions, JsonFields
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import Document, DocumentIssue
from embedder_assets.corpus.extract import source as versions
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import ISOLATED, extract, media_type
from embedder_assets.corpus.extract.isolated import ExtractorPool
from embedder_assets.corpus.extract.json_reader import JsonReader
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.attachments import AttachmentRoom, attached
from embedder_assets.corpus.extract.safe_open import open_source, read_bytes
from embedder_assets.corpus.extract.source import Known, Read, Source, refused_by
from embedder_assets.corpus.json_rows import JSON_SUFFIXES, ROW_SUFFIXES
from embedder_assets.corpus.metadata.values import ACL, closes, stated
from embedder_assets.corpus.source_files import SourceFile
from embedder_assets.errors import DocumentError

# Text is read in this process first: less of it than this does not repay the start of others.
TEXT_HERE_S = 2.0
# Files that may wait behind one that takes long.
MOST_PENDING = 1000
# Of the rules by which the metadata of a file says who wrote it.
_WITH_AUTHOR = "+author"
# Omissions of what may have been the metadata of a document.
_FRONT_MATTER = "front matter"
_METADATA_PARTS = (_FRONT_MATTER, "metadata field")
_FRONT_MATTER_CHARS = 100_000


@dataclass(frozen=True)
class _Submitted:
    """What the pool reads: a file, or an attachment in ``mails``, which are those that it is in, from the outermost."""

    source: Source
    size_bytes: int
    room: AttachmentRoom
    mails: tuple[str, ...] = ()


_Pending = _Submitted | Iterator[Read]


class FileReader:
    """Reads the files of a collection.

    Args:
        collection: The collection.
        options: What its ``collection.toml`` says.
        limits: A document that goes beyond them is an issue.
        pool: Reads what a library parses.

    Attributes:
        done: How many files have been read.
    """

    def __init__(
        self, collection: Collection, options: CollectionOptions, limits: DocumentLimits, pool: ExtractorPool
    ) -> None:
        self.done = 0
        self._collection = collection
        self._options = options
        self._limits = limits
        self._pool = pool
        self._text_s = 0.0
        self._pending: deque[_Pending] = deque()
        self._json_reader = JsonReader(collection, limits, options, self._document)

    def read(self, files: Iterable[SourceFile], known: Known) -> Iterator[Read]:
        """Each source that a file is and what it holds, in order; None where nobody needs that.

        What is attached to a mail comes behind the files that wait with it.
        """
        for file in files:
            self._pending.append(self._begin(file, known))
            while self._pending and not self._can_wait():
                yield from self._finish(self._pending.popleft())
        while self._pending:
            yield from self._finish(self._pending.popleft())

    def _can_wait(self) -> bool:
        held_up = isinstance(self._pending[0], _Submitted) and not self._pool.is_ready
        return held_up and not self._pool.is_full and len(self._pending) < MOST_PENDING

    def _begin(self, file: SourceFile, known: Known) -> _Pending:
        suffix = file.path.suffix.lower()
        if suffix in ROW_SUFFIXES:
            return self._lines(file, known)
        if suffix in JSON_SUFFIXES:
            return self._json_file(file, known)
        try:
            found, data = self._open(file)
        except DocumentError as error:
            return self._counted([self._issue(Source(file.doc_id, None, ""), error)])
        if (answer := self._match(found, known)) is not None:
            return self._counted([(answer, None)])
        return self._submit(found, data, AttachmentRoom())

    def _open(self, file: SourceFile) -> tuple[Source, bytes]:
        thing = f"{self._collection.name}/{file.doc_id}"
        data = read_bytes(self._collection, file.path, thing, self._limits.document_bytes)
        rules = self._rules(file.path.suffix.lower(), author=self._options.author)
        return Source(file.doc_id, hashlib.sha256(data).hexdigest(), rules), data

    def _match(self, found: Source, known: Known) -> Source | None:
        """The version of a source that is known, if one is."""
        refused = replace(found, extraction=refused_by(self._limits))
        # What was read by the options that count once they can be read again is not read by others meanwhile.
        suffix = PurePosixPath(found.doc_id).suffix.lower()
        others = [] if self._options.valid else [replace(found, extraction=self._rules(suffix, author=True))]
        return next((source for source in (found, refused, *others) if known(source)), None)

    def _rules(self, suffix: str, *, author: bool) -> str:
        """Identifies how a file is read; of JSON also which fields are what."""
        rules = f"{versions.EXTRACTION_VERSION}{_WITH_AUTHOR if author else ''}"
        if self._options.json == JsonFields() or suffix not in JSON_SUFFIXES:
            return rules
        return f"{rules}+{hashlib.sha256(repr(self._options.json).encode()).hexdigest()[:8]}"

    def _submit(self, source: Source, data: bytes, room: AttachmentRoom, mails: tuple[str, ...] = ()) -> _Pending:
        suffix = PurePosixPath(source.doc_id).suffix.lower()
        if suffix in JSON_SUFFIXES:
            return self._json(source, data, mails)
        thing = f"{self._collection.name}/{source.doc_id}"
        if suffix in ISOLATED or (self._pool.processes > 1 and self._text_s >= TEXT_HERE_S):
            self._pool.submit(suffix, data, thing)
            return _Submitted(source, len(data), room, mails)
        try:
            extracted = attached(self._extract_here(suffix, data, thing), mails)
            found: Read = (source, self._document(source, extracted, len(data)))
        except DocumentError as error:
            found = self._issue(source, error)
        return iter([found]) if mails else self._counted([found])

    def _extract_here(self, suffix: str, data: bytes, thing: str) -> Extracted:
        started = time.monotonic()
        try:
            return extract(suffix, data, thing, self._limits)
        finally:
            self._text_s += time.monotonic() - started

    def _finish(self, pending: _Pending) -> Iterator[Read]:
        if not isinstance(pending, _Submitted):
            yield from pending
            return
        self.done += not pending.mails
        source, mails = pending.source, pending.mails
        try:
            extracted = pending.room.take(self._pool.take(), level=len(mails))
            yield source, self._document(source, attached(extracted, mails), pending.size_bytes)
        except DocumentError as error:
            yield self._issue(source, error)
            return
        for file in extracted.attachments:
            part = replace(source, doc_id=f"{source.doc_id}/{file.name}", file=source.file or source.doc_id)
            self._pending.append(self._submit(part, file.data, pending.room, (*mails, source.doc_id)))

    def _counted(self, found: Iterable[Read]) -> Iterator[Read]:
        """What a file holds that is not submitted; the file is done then."""
        self.done += 1
        yield from found

    def _lines(self, file: SourceFile, known: Known) -> Iterator[Read]:
        """The documents on the lines of a file, one of them in memory at a time."""
        source = Source(file.doc_id, None, self._rules(".jsonl", author=self._options.author))
        try:
            with open_source(self._collection, file.path, f"{self._collection.name}/{file.doc_id}") as lines:
                yield from self._json_reader.lines(source, lines, known)
        except DocumentError as error:
            yield source, DocumentIssue.from_error(self._collection.name, file.doc_id, error)
        self.done += 1

    def _json_file(self, file: SourceFile, known: Known) -> Iterator[Read]:
        """A file that is not read before its turn, since it is parsed in this process."""
        self.done += 1
        try:
            found, data = self._open(file)
        except DocumentError as error:
            yield self._issue(Source(file.doc_id, None, ""), error)
            return
        if (answer := self._match(found, known)) is not None:
            yield answer, None
        else:
            yield from self._json(found, data)

    def _json(self, source: Source, data: bytes, mails: tuple[str, ...] = ()) -> Iterator[Read]:
        suffix = PurePosixPath(source.doc_id).suffix.lower()
        try:
            yield from self._json_reader.documents(source, suffix, data, mails)
        except DocumentError as error:
            yield self._issue(source, error)

    def _issue(self, source: Source, error: DocumentError) -> Read:
        """A source that cannot be used: other limits may let it pass."""
        refused = replace(source, extraction=refused_by(self._limits))
        return refused, DocumentIssue.from_error(self._collection.name, source.doc_id, error)

    def _document(self, source: Source, extracted: Extracted, size_bytes: int) -> Document:
        return Document(
            self._collection.name,
            source.doc_id,
            extracted.text,
            media_type(PurePosixPath(source.doc_id).suffix.lower(), extracted),
            size_bytes,
            extracted.title or PurePosixPath(source.doc_id).stem,
            json.dumps(_stated(extracted, self._options), sort_keys=True),
            extracted.pages,
            [asdict(each) for each in extracted.omissions],
        )


def _stated(extracted: Extracted, options: CollectionOptions) -> dict[str, Any]:
    """What a file says of itself; where a part of that is not read which may name who may see it, a broken ``acl``."""
    fields = stated(extracted.metadata, author=options.author)
    unread = " ".join(each.detail for each in extracted.omissions if each.part in _METADATA_PARTS)
    if any(each.part == _FRONT_MATTER for each in extracted.omissions):
        unread += extracted.text[:_FRONT_MATTER_CHARS]  # where it stays
    return {ACL: None, **fields} if closes(unread) else fields
