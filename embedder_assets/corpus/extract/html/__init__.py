"""HTML to Markdown.

Here belongs what is done with a page: its encoding, the furniture around its content, what it says of itself, and its
elements as Markdown. Other formats that become HTML first come in through ``convert_html`` and ``markdown_of_html``.
"""

from embedder_assets.corpus.extract.html.page import convert_html, extract_html, markdown_of_html

__all__ = ["convert_html", "extract_html", "markdown_of_html"]
