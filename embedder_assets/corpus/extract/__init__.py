"""From the files of a collection to documents of Markdown or plain text: one module per format.

``documents`` reads a collection, ``formats`` has the extractor of each suffix, ``limits`` what a document may cost, and
``isolated`` and ``worker`` run libraries in a process of their own. Which files there are belongs to ``corpus``.
"""

from embedder_assets.corpus.document import Document, DocumentIssue
from embedder_assets.corpus.extract.documents import Source, read_sources
from embedder_assets.corpus.extract.limits import Limits

__all__ = ["Document", "DocumentIssue", "Limits", "Source", "read_sources"]
