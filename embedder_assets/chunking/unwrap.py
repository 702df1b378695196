"""Joins the lines of hard-wrapped paragraphs without moving a character.

The splitter would rather cut at a line end than at the end of a sentence. In text that was wrapped at a column, as
most Markdown in git and all text from PDFs is, that would end most chunks in the middle of a sentence.
"""

from __future__ import annotations

import re

from embedder_assets.corpus.markdown import line_starts, parse_blocks

# Not where the line ends like a sentence or a hard break, nor where the next one begins like a list item.
_WRAP = re.compile(r"(?<=[^\s.!?:;\\])\n(?=[ ]*[\w\"'`(\[*_\u201c\u2018])")


def unwrap(text: str) -> str:
    """Replace the line ends inside paragraphs of a Markdown text by spaces; its length stays the same."""
    starts = [*line_starts(text), len(text)]
    parts, done = [], 0
    quotes = 0
    for token in parse_blocks(text):
        quotes += (token.type == "blockquote_open") - (token.type == "blockquote_close")
        if token.type == "paragraph_open" and token.map and not quotes:
            start, end = starts[token.map[0]], starts[token.map[1]]
            paragraph = text[start:end]
            if "|" not in paragraph:  # it may be a table
                parts += [text[done:start], _WRAP.sub(" ", paragraph)]
                done = end
    return "".join([*parts, text[done:]])
