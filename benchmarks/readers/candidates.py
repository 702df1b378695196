"""Reads files with one library and prints what it made of them as JSON; runs in an environment that has the libraries.

Usage: ``python candidates.py LIBRARY FILE…``. It imports nothing of the project.
"""

import asyncio
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

SUFFIXES = {
    "xberg": (".html", ".docx", ".md", ".pdf", ".rst"),
    "kreuzberg": (".html", ".docx", ".md", ".pdf", ".rst"),
    "trafilatura": (".html",),
    "markdownify": (".html",),
    "mammoth": (".docx",),
    "pypdfium2": (".pdf",),
    "docling-parse": (".pdf",),
    "docutils": (".rst",),
}


def xberg() -> Callable[[Path], str]:
    import xberg

    config = xberg.ExtractionConfig(
        use_cache=False, disable_ocr=True, output_format="markdown", enable_quality_processing=False
    )

    async def read(path: Path) -> str:
        source = xberg.ExtractInput(kind="bytes", bytes=path.read_bytes(), filename=path.name)
        text: str = (await xberg.extract(source, config)).results[0].content
        return text

    return lambda path: asyncio.run(read(path))


def kreuzberg() -> Callable[[Path], str]:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(use_cache=False, output_format="markdown", enable_quality_processing=False)
    return lambda path: kreuzberg.extract_file_sync(path, config=config).content


def trafilatura() -> Callable[[Path], str]:
    import trafilatura

    return lambda path: trafilatura.extract(path.read_bytes(), output_format="markdown", include_tables=True) or ""


def markdownify() -> Callable[[Path], str]:
    from markdownify import markdownify as convert

    return lambda path: convert(path.read_text("utf-8", "replace"), heading_style="ATX")


def mammoth() -> Callable[[Path], str]:
    import mammoth
    from markdownify import markdownify as convert

    return lambda path: convert(mammoth.convert_to_html(io.BytesIO(path.read_bytes())).value, heading_style="ATX")


def pypdfium2() -> Callable[[Path], str]:
    import pypdfium2

    def read(path: Path) -> str:
        pdf = pypdfium2.PdfDocument(path.read_bytes())
        return "\n\n".join(page.get_textpage().get_text_range() for page in pdf)

    return read


def docling_parse() -> Callable[[Path], str]:
    from docling_core.types.doc.page import TextCellUnit
    from docling_parse.pdf_parser import DoclingPdfParser

    def read(path: Path) -> str:
        pdf = DoclingPdfParser(loglevel="fatal").load(path_or_stream=str(path))
        return "\n\n".join(
            "\n".join(cell.text for cell in page.iterate_cells(unit_type=TextCellUnit.LINE))
            for _, page in pdf.iterate_pages()
        )

    return read


def docutils() -> Callable[[Path], str]:
    from docutils.core import publish_doctree

    quiet = {"report_level": 5, "halt_level": 5, "warning_stream": False}
    return lambda path: publish_doctree(path.read_text("utf-8"), settings_overrides=quiet).astext()


def main(library: str, paths: list[str]) -> None:
    """Prints, for each path, the text and the milliseconds that it took the second time, or the error."""
    read = globals()[library.replace("-", "_")]()
    found: dict[str, dict[str, object]] = {}
    for path in paths:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                read(Path(path))
                start = time.perf_counter()
                text = read(Path(path))
                found[path] = {"text": text, "ms": 1000 * (time.perf_counter() - start)}
            except Exception as error:
                found[path] = {"error": f"{type(error).__name__}: {error}"}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
