"""What one document may cost, and how a document that would cost more is refused."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

from embedder_assets.errors import DocumentError
from embedder_assets.settings import Settings, variable_of

MB = 1_000_000
# Constants, since nobody has had a reason to change them: beyond them a file is a mistake or means harm.
MAX_TEXT_CHARS = 20_000_000
MAX_PDF_PAGES = 20_000
MAX_UNPACKED_BYTES = 200 * MB
MAX_UNPACKED_RATIO = 200.0  # what shrinks further repeats itself, as a zip bomb does
MAX_NESTING = 500  # the libraries recurse, several frames per level (``worker.py``)
MAX_MARKDOWN_NESTING = 50
MAX_MARKDOWN_STEPS = 5_000_000  # about 20 seconds; documents take one to four per line
MEMORY_BYTES = 4096 * MB  # address space: 60 kB of DOCX have filled half a gigabyte (ADR 0015)


@dataclass(frozen=True)
class DocumentLimits:
    """What one document may cost: two settings, and the constants above.

    Attributes:
        document_bytes: Of the file.
        text_chars: Of the text that is extracted.
        pdf_pages: Of a PDF.
        unpacked_bytes: Of an office file or book, which is a zip archive.
        unpacked_ratio: How many bytes a byte of it may unpack to.
        nesting: Levels of HTML and XML elements, of groups in RTF, of indentation in reStructuredText.
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
    def of(cls, settings: Settings) -> DocumentLimits:
        """The limits of some settings."""
        return cls(
            document_bytes=int(settings.max_document_mb * MB),
            text_chars=MAX_TEXT_CHARS,
            pdf_pages=MAX_PDF_PAGES,
            unpacked_bytes=MAX_UNPACKED_BYTES,
            unpacked_ratio=MAX_UNPACKED_RATIO,
            nesting=MAX_NESTING,
            markdown_nesting=MAX_MARKDOWN_NESTING,
            markdown_steps=MAX_MARKDOWN_STEPS,
            seconds=settings.document_timeout_s,
            memory_bytes=MEMORY_BYTES,
        )

    @property
    def digest(self) -> str:
        """Eight hex digits: what a document was refused by, so that other limits read it again."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]


def over_limit(thing: str, *, kind: str, expected: str, got: str, setting: str | None = None) -> DocumentError:
    """The error of a document that goes beyond a limit.

    Args:
        thing: Name of the document.
        kind: Of the issue.
        expected: The limit in words.
        got: What the document has.
        setting: Name of the setting that raises the limit, if one does; the remedy names it.
    """
    remedy = "Split or simplify the document" + (f", or raise {variable_of(setting)}." if setting else ".")
    return DocumentError(thing, kind=kind, expected=expected, got=got, remedy=remedy)


def too_deep(thing: str, limit: int, got: str) -> DocumentError:
    """The error of a document whose parts lie in each other too deep."""
    return over_limit(thing, kind="too_deep", expected=f"at most {limit} levels of nesting", got=got)


def too_long(thing: str, limits: DocumentLimits) -> DocumentError:
    """The error of a document with more text than the limit."""
    expected = f"at most {limits.text_chars:,} characters of text"
    return over_limit(thing, kind="too_long", expected=expected, got="more")
