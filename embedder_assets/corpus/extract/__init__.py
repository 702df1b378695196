"""From the files of a collection to documents of Markdown or plain text: one module per format, for PDF a folder.

``source_reader`` reads a collection and ``safe_open`` one file of it, ``formats`` has the extractor of each suffix,
``limits`` what a document may cost, and ``isolated`` and ``worker`` run libraries in a process of their own. Others
import what is exported here. Which files there are belongs to ``corpus``.
"""

from embedder_assets.corpus.document import Document, DocumentIssue
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.source import Source, refused_by
from embedder_assets.corpus.extract.source_reader import read_sources

__all__ = ["Document", "DocumentIssue", "DocumentLimits", "Source", "read_sources", "refused_by"]
