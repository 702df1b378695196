"""From the files of a collection to documents of Markdown or plain text: one module a format."""

from embedder_assets.stages.document import Document, DocumentIssue
from embedder_assets.stages.extract.documents import Source, read_sources

__all__ = ["Document", "DocumentIssue", "Source", "read_sources"]
