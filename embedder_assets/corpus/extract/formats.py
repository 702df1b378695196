"""From the bytes of one file to its text and title, by its suffix: what runs in this process or in one of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from embedder_assets.corpus.document import CODE_LANGUAGES, MEDIA_TYPES, PLAIN, has_lone_surrogates
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import extract_html
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_deep, too_long
from embedder_assets.corpus.extract.mail import extract_eml, extract_msg
from embedder_assets.corpus.extract.markup.asciidoc import extract_asciidoc
from embedder_assets.corpus.extract.markup.embedded_data import is_nothing_but_data, leave_out_embedded_data
from embedder_assets.corpus.extract.markup.markdown import extract_markdown
from embedder_assets.corpus.extract.markup.mdx import extract_mdx
from embedder_assets.corpus.extract.markup.rst import extract_rst
from embedder_assets.corpus.extract.office import OFFICE_EXTRACTORS
from embedder_assets.corpus.extract.pdf import extract_pdf
from embedder_assets.corpus.extract.plain import empty, extract_code, extract_plain, lone_surrogate
from embedder_assets.corpus.extract.structured import extract_csv, extract_notebook
from embedder_assets.corpus.markdown import Heading, TooManyStepsError, headings
from embedder_assets.errors import DocumentError

Extractor = Callable[[bytes, str, DocumentLimits], Extracted]

EXTRACTORS: dict[str, Extractor] = {
    ".md": extract_markdown,
    ".markdown": extract_markdown,
    ".mdx": extract_mdx,
    ".txt": extract_plain,
    ".rst": extract_rst,
    ".adoc": extract_asciidoc,
    ".asciidoc": extract_asciidoc,
    ".html": extract_html,
    ".htm": extract_html,
    ".pdf": extract_pdf,
    ".csv": extract_csv,
    ".tsv": extract_csv,
    ".ipynb": extract_notebook,
    ".eml": extract_eml,
    ".msg": extract_msg,
    **dict.fromkeys(CODE_LANGUAGES, extract_code),
    **OFFICE_EXTRACTORS,
}
_TEXT_ONLY = (extract_plain, extract_markdown, extract_code)
ISOLATED = {suffix for suffix, extractor in EXTRACTORS.items() if extractor not in _TEXT_ONLY}
"""What a library parses that may hang, crash or fill the memory; text is only decoded, and front matter is small."""

# Block quotes and lists that begin on one line lie in each other. ``- - -`` without text is a rule.
_MARKS = re.compile(r"^(?:[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])))+", re.MULTILINE)
_MARK = re.compile(r">|[-+*]|\d+")
_CARRIED = (DocumentError, MemoryError)


def extract(suffix: str, data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """The text of a file and its title, empty where neither the file nor a heading states one.

    Raises:
        DocumentError: The file cannot be used, or goes beyond a limit.
        MemoryError: The memory of this process does not suffice.
    """
    try:
        extracted = EXTRACTORS[suffix](data, thing, limits)
        return finished(extracted, media_type(suffix, extracted), thing, limits)
    except _CARRIED:
        raise
    except RecursionError as error:
        raise too_deep(thing, limits.nesting, "more than the library that reads it can follow") from error
    except Exception as error:
        raise unreadable(thing, f"{type(error).__name__}: {error}") from error


def media_type(suffix: str, extracted: Extracted) -> str:
    """The media type of a document: that of its format, unless its text is plain."""
    return PLAIN if extracted.plain else MEDIA_TYPES[suffix]


def finished(extracted: Extracted, media_type: str, thing: str, limits: DocumentLimits) -> Extracted:
    """What was extracted, with line ends of one kind and its first heading as the title where none is stated.

    Raises:
        DocumentError: It is empty, or goes beyond a limit.
    """
    text = extracted.text.replace("\r\n", "\n").replace("\r", "\n")
    if "\r\n" in extracted.text:
        pages = tuple(start - extracted.text.count("\r\n", 0, start) for start in extracted.pages)
        extracted = replace(extracted, pages=pages)
    extracted = leave_out_embedded_data(replace(extracted, text=text))
    text = extracted.text
    if len(text) > limits.text_chars:
        raise too_long(thing, limits)
    if not text.strip():
        raise empty(thing)
    if is_nothing_but_data(text):
        raise empty(thing, "nothing but embedded data")
    if has_lone_surrogates(text) or has_lone_surrogates(extracted.title):
        raise lone_surrogate(thing)
    if media_type == PLAIN:
        return extracted
    _refuse_deep_markdown(text, thing, limits.markdown_nesting)
    # Also where the title is known: the stage that chunks the text parses it again, without a limit.
    first_heading = next(
        (heading.title for heading in _headings(text, thing, limits.markdown_steps) if heading.title), ""
    )
    return replace(extracted, title=extracted.title or first_heading)


def _headings(text: str, thing: str, most_steps: int) -> list[Heading]:
    try:
        return headings(text, most_steps)
    except TooManyStepsError as error:
        expected = f"Markdown that takes at most {most_steps:,} steps to parse"
        raise over_limit(thing, kind="too_complex", expected=expected, got="more") from error


def _refuse_deep_markdown(text: str, thing: str, limit: int) -> None:
    # Each mark takes a character at least, so the others need no count.
    for marks in (found[0] for found in _MARKS.finditer(text) if len(found[0]) > limit):
        depth = len(_MARK.findall(marks))
        if depth > limit:
            raise over_limit(
                thing,
                kind="too_deep",
                expected=f"at most {limit} block quotes and lists in each other",
                got=f"a line that begins {depth} of them",
            )


def unreadable(thing: str, got: str) -> DocumentError:
    """The error of a file that cannot be read at all."""
    remedy = "Open the file in its own application to check it, and save it again or remove it."
    return DocumentError(thing, kind="unreadable", expected="a file that can be read", got=got, remedy=remedy)
