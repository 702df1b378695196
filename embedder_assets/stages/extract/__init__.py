"""From the files of a collection to documents of Markdown or plain text: one module a format."""

from embedder_assets.stages.document import Document, DocumentIssue
from embedder_assets.stages.extract.documents import read_documents

__all__ = ["Document", "DocumentIssue", "read_documents"]
