"""Word documents: ``rewriting`` reduces one to what is shown, ``writer`` makes HTML of that.

``styles`` and ``numbering`` say what a paragraph is: a heading, a line of code, an item and its number.
"""

from embedder_assets.corpus.extract.office.word.document import extract_word

__all__ = ["extract_word"]
