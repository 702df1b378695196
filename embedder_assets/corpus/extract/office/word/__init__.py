"""Word documents: ``rewriting`` reduces them to what is shown, ``writer`` makes HTML of it by ``styles`` and ``numbering``."""

from embedder_assets.corpus.extract.office.word.document import extract_word

__all__ = ["extract_word"]
