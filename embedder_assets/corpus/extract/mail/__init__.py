"""Mails to text: who wrote to whom and when, what they wrote, and the files that came with it.

``eml`` and ``msg`` read the two formats, ``headers`` what both have at their head; ``mail_text`` collects what is in a
mail. What an attachment says belongs to the reader of its own format.
"""

from embedder_assets.corpus.extract.mail.eml import extract_eml
from embedder_assets.corpus.extract.mail.mail_text import MAX_ATTACHMENTS
from embedder_assets.corpus.extract.mail.msg import extract_msg

__all__ = ["MAX_ATTACHMENTS", "extract_eml", "extract_msg"]
