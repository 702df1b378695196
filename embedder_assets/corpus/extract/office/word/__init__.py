"""Word documents: ``rewriting`` makes text of what mammoth would leave out, with ``styles`` and ``numbering``."""

from embedder_assets.corpus.extract.office.word.document import extract_word

__all__ = ["extract_word"]
