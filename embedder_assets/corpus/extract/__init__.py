"""From the files of a collection to documents of Markdown or plain text: one module a format."""

from embedder_assets.corpus.document import Document, DocumentIssue
from embedder_assets.corpus.extract.documents import Source, read_sources
from embedder_assets.corpus.extract.limits import Limits

__all__ = ["Document", "DocumentIssue", "Limits", "Source", "read_sources"]
