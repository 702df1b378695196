"""Mails to text: who wrote to whom and when, what they wrote, and the files that came with it.

``eml`` and ``msg`` read the two formats, ``headers`` what both have at their head; ``mail_text`` collects what is in a
mail, ``attachments`` limits how many of the files in it are read. What these say belongs to the readers of their
formats.
"""

from embedder_assets.corpus.extract.mail.eml import extract_eml
from embedder_assets.corpus.extract.mail.msg import extract_msg

__all__ = ["extract_eml", "extract_msg"]
