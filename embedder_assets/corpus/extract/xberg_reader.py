"""Office formats, books and mails through xberg, a library with a core in Rust, in one thread and on bytes alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit
from embedder_assets.errors import DocumentError

if TYPE_CHECKING:
    from xberg import ExtractedDocument, ExtractionConfig

# Words by which xberg, whose errors are all of one class, says that a limit was reached.
_LIMIT_WORDS = ("security", "limit", "exceed", "too large", "too deep", "bomb")


def read_with_xberg(data: bytes, media_type: str, thing: str, limits: DocumentLimits) -> ExtractedDocument:
    """What xberg makes of a file: its text as Markdown in ``content``, its tables, structure and properties.

    It runs where ``RLIMIT_FSIZE`` is 0 and ``RLIMIT_AS`` that of ``limits``: it has no cache, looks at no image,
    opens no file inside the file, and asks nobody on the network.

    Args:
        data: The whole file.
        media_type: What the file is; nothing is guessed from its content.
        thing: The name of the document for messages.
        limits: What it may cost.

    Raises:
        DocumentError: With kind ``unreadable_office`` or ``too_complex``.
    """
    from xberg import ExtractInput, extract

    async def read() -> ExtractedDocument:
        given = ExtractInput("bytes", data, mime_type=media_type)
        result = await extract(given, _config(limits))
        if not result.results:
            raise _failed(thing, "; ".join(error.message for error in result.errors) or "nothing")
        return result.results[0]

    try:
        return asyncio.run(read())
    except RuntimeError as error:  # also its own errors, whose classes it does not use
        raise _failed(thing, str(error)) from error


def _config(limits: DocumentLimits) -> ExtractionConfig:
    import xberg

    return xberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        disable_ocr=True,
        output_format="markdown",
        mime_detection_policy="trust_extension",
        content_filter=xberg.ContentFilterConfig(include_footnotes=True, strip_repeating_text=False),
        include_document_structure=True,
        extraction_timeout_secs=None,  # the process has a clock
        max_archive_depth=0,
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(
            max_archive_size=limits.unpacked_bytes,
            max_compression_ratio=int(limits.unpacked_ratio),
            max_nesting_depth=limits.nesting,
            max_xml_depth=limits.nesting,
            max_content_size=limits.unpacked_bytes,
        ),
    )


def _failed(thing: str, got: str) -> DocumentError:
    if any(word in got.lower() for word in _LIMIT_WORDS):
        return over_limit(thing, kind="too_complex", expected="a document within the limits of its reader", got=got)
    return DocumentError(
        thing,
        kind="unreadable_office",
        expected="a whole file of the format that its suffix names",
        got=got,
        remedy="Open it in its own application and save it again, without a password.",
    )
