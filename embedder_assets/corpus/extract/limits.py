"""What one document may cost, and how a document that would cost more is refused."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

from embedder_assets.errors import DocumentError
from embedder_assets.settings import Settings, variable_of

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The limits that the settings ``max_…`` and ``document_…`` set for one document.

    Attributes:
        document_bytes: Of the file.
        text_chars: Of the text that is extracted.
        pdf_pages: Of a PDF.
        unpacked_bytes: Of a DOCX.
        unpacked_ratio: How many bytes a byte of a DOCX may unpack to.
        nesting: Levels of HTML elements, of a DOCX's XML, of indentation in reStructuredText.
        markdown_nesting: Marks of block quotes and lists at the beginning of one line.
        markdown_steps: Looks at a line that the parser of Markdown may take.
        seconds: For the extraction of a format that a library reads.
        memory_bytes: Address space of the process that does it.
    """

    document_bytes: int
    text_chars: int
    pdf_pages: int
    unpacked_bytes: int
    unpacked_ratio: float
    nesting: int
    markdown_nesting: int
    markdown_steps: int
    seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits of some settings."""
        return cls(
            document_bytes=int(settings.max_document_mb * MB),
            text_chars=settings.max_text_chars,
            pdf_pages=settings.max_pdf_pages,
            unpacked_bytes=int(settings.max_unpacked_mb * MB),
            unpacked_ratio=settings.max_unpacked_ratio,
            nesting=settings.max_nesting,
            markdown_nesting=settings.max_markdown_nesting,
            markdown_steps=settings.max_markdown_steps,
            seconds=settings.document_timeout_s,
            memory_bytes=int(settings.document_memory_mb * MB),
        )

    @property
    def digest(self) -> str:
        """Eight hex digits: what a document was refused by, so that other limits read it again."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]


def over_limit(thing: str, setting: str, *, kind: str, expected: str, got: str) -> DocumentError:
    """The error of a document that goes beyond a setting, which the remedy names.

    Args:
        thing: Name of the document.
        setting: Name of the setting, without the prefix of its variable.
        kind: Of the issue.
        expected: The limit in words.
        got: What the document has.
    """
    remedy = f"Split or simplify the document, or raise {variable_of(setting)}."
    return DocumentError(thing, kind=kind, expected=expected, got=got, remedy=remedy)


def too_deep(thing: str, limit: int, got: str) -> DocumentError:
    """The error of a document whose parts lie in each other too deep."""
    return over_limit(thing, "max_nesting", kind="too_deep", expected=f"at most {limit} levels of nesting", got=got)


def too_long(thing: str, limits: Limits) -> DocumentError:
    """The error of a document with more text than the limit."""
    expected = f"at most {limits.text_chars:,} characters of text"
    return over_limit(thing, "max_text_chars", kind="too_long", expected=expected, got="more")
