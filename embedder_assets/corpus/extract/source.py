"""What a document is extracted from, and by which rules: what tells whether it has to be read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from embedder_assets.corpus.document import CONTAINERS, Document, DocumentIssue
from embedder_assets.corpus.extract.limits import DocumentLimits

# Raise it when what is extracted from the same bytes changes: every document is then extracted anew.
EXTRACTION_VERSION = "2"


@dataclass(frozen=True)
class Source:
    """What a document is extracted from.

    Attributes:
        doc_id: Of the document; of what is none, its place in the collection.
        sha256: Digest of the bytes of the file or of the row; None where they could not be read.
        extraction: Identifies the rules of extraction; of a file that cannot be used, the limits too.
        file: Path of the file that it is in, where it is not a file of its own: an attachment, a row.
    """

    doc_id: str
    sha256: str | None
    extraction: str
    file: str = ""

    @property
    def is_container(self) -> bool:
        """Whether other documents may be in it."""
        return PurePosixPath(self.doc_id).suffix.lower() in CONTAINERS


Known = Callable[[Source], bool]
Read = tuple[Source, Document | DocumentIssue | None]


def refused_by(limits: DocumentLimits) -> str:
    """The ``extraction`` of what these limits refuse."""
    return f"{EXTRACTION_VERSION}/{limits.digest}"
