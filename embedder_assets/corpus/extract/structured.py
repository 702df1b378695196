"""Delimited tables (CSV, TSV) and Jupyter notebooks to Markdown."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_long
from embedder_assets.corpus.extract.markdown_table import markdown_table
from embedder_assets.corpus.extract.plain import decode
from embedder_assets.errors import DocumentError

Rows = list[list[str]]

_DELIMITERS = "\t;|,"  # of several that fit, the first: commas are most likely to be something else
_EXCEL_HINT = re.compile(r"sep=([,;\t|])\r?\n")
_SAMPLE_CHARS = 200_000
_SAMPLE_ROWS = 500
MAX_COLUMNS = 16_384  # of a sheet in Excel
_LINE_END = re.compile(r"\r\n|\r|\n")
_END = "\0"  # no text has it (``plain.decode``)

_NOTEBOOK_IMAGE = re.compile(r"!\[[^\]]*\]\((?:attachment:|data:image/)[^)]*\)")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FENCES = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
# What stands for a picture or a page where it cannot be shown: ``<Figure size 640x480 with 1 Axes>``.
_OBJECT = re.compile(r"<[^<>]*\b(?:Figure|Axes|Image|object)\b[^<>]*>")
MAX_OUTPUT_CHARS = 2000  # what a cell prints beyond it is a log, or data


def extract_csv(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a file of delimited rows into a Markdown table; lines above its header become paragraphs.

    The delimiter is the one that gives most rows the same number of cells, as people see it. A row with more cells
    than the header has the surplus in its last cell, most often a text in which the delimiter was not quoted.

    Raises:
        DocumentError: With kind ``too_complex``, ``too_long``, ``binary`` or ``not_utf8``.
    """
    text = decode(data, thing)
    hint = _EXCEL_HINT.match(text)
    if hint:
        text = text[hint.end() :]
    csv.field_size_limit(limits.text_chars)
    delimiter = hint[1] if hint else _delimiter(text[:_SAMPLE_CHARS])
    rows = _read(text, delimiter)
    widest = max(map(len, rows), default=0)
    if widest > MAX_COLUMNS:
        expected = f"at most {MAX_COLUMNS:,} columns"
        raise over_limit(thing, kind="too_complex", expected=expected, got=f"{widest:,}")
    blocks = [list(group) for filled, group in groupby(rows, any) if filled]
    # A cell takes three characters, also where a row that is short lacks it.
    if 3 * sum(_usual_width(block) * len(block) for block in blocks) > limits.text_chars:
        raise too_long(thing, limits)
    return Extracted("\n".join(_parts(blocks, delimiter)))


def _delimiter(sample: str) -> str:
    """The delimiter by which the largest share of rows has the same number of cells; a comma may be a decimal one."""
    shares = {}
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in islice(_reader(sample, delimiter, csv.QUOTE_MINIMAL), _SAMPLE_ROWS) if row)
        wide = [count for width, count in widths.items() if width > 1]
        shares[delimiter] = max(wide, default=0) / max(widths.total(), 1)
    return max(_DELIMITERS, key=lambda each: shares[each]) if any(shares.values()) else ","


def _read(text: str, delimiter: str) -> Rows:
    rows = _rows(text, delimiter, csv.QUOTE_MINIMAL)
    if rows is not None and not any("\n" in cell for row in rows for cell in row):
        return rows
    # A quotation mark that means inches would make one cell of all rows up to the next one, or to the end.
    unquoted = _rows(text, delimiter, csv.QUOTE_NONE) or []
    return unquoted if rows is None or 0 < _agreement(rows) <= _agreement(unquoted) else rows


def _agreement(rows: Rows) -> float:
    """The share of rows, without empty ones, that have the usual number of cells."""
    widths = [len(row) for row in rows if any(row)]
    return widths.count(_usual_width(rows)) / max(len(widths), 1)


def _rows(text: str, delimiter: str, quoting: Any) -> Rows | None:
    """The rows; None where a quotation mark is open at the end."""
    rows: Rows = []
    for row in _reader(f"{text}\n{_END}", delimiter, quoting):
        if row == [_END]:
            return rows
        rows.append([cell.strip() for cell in row])
    return None


def _reader(text: str, delimiter: str, quoting: Any) -> Iterator[list[str]]:
    escape = "\\" if '\\"' in text and '""' not in text else None
    lines = (line + "\n" for line in _LINE_END.split(text))
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, escapechar=escape, skipinitialspace=True)


def _parts(blocks: list[Rows], delimiter: str) -> Iterator[str]:
    """Tables and paragraphs of runs of rows: an empty row ends a table if those behind it have another width."""
    is_list = all(_usual_width(block) == 0 for block in blocks)
    table: Rows = []
    width = 0
    for block in blocks:
        start = 0 if is_list else _header(block)
        block_width = 1 if is_list else _usual_width(block[start:])
        if table and (start or block_width != width):
            yield markdown_table(table)
            table = []
        yield from (f"{f'{delimiter} '.join(filter(None, row))}\n" for row in block[:start])
        width = block_width
        table += [_fitted(row, width, delimiter) for row in block[start:]]
        if table and _lacks_row_names(table):
            table[0].insert(0, "")
    if table:
        yield markdown_table(table)


def _header(block: Rows) -> int:
    """The index of the first row of the table in a block, behind titles and notes; its length where it has none."""
    width = _usual_width(block)
    least = max(2, width / 2)
    return next((at for at, row in enumerate(block) if len(_trimmed(row)) >= least), len(block))


def _usual_width(block: Rows) -> int:
    """The number of cells that most rows have, the first of several; rows of one cell do not count."""
    widths = Counter(len(row) for row in block if len(_trimmed(row)) > 1)
    return max(widths, key=lambda width: widths[width], default=0)


def _lacks_row_names(table: Rows) -> bool:
    """Whether a header is one cell short of rows whose first cell is their name, as R writes them."""
    header, *rows = (len(row) for row in table)
    return bool(rows) and header == rows[0] - 1 and min(rows) == max(rows)


def _trimmed(row: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def _fitted(row: list[str], width: int, delimiter: str) -> list[str]:
    cells = _trimmed(row)
    return cells if len(cells) <= width else [*cells[: width - 1], f"{delimiter} ".join(cells[width - 1 :])]


def extract_notebook(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a Jupyter notebook into Markdown: its text as it is, code and what it printed in fences.

    Raises:
        DocumentError: With kind ``unreadable_notebook``, ``too_long``, ``binary`` or ``not_utf8``.
    """
    notebook = _notebook(data, thing)
    cells = _cells(notebook)
    if cells is None:
        raise _unreadable_notebook(thing, "JSON without a list of cells")
    about = _object(notebook.get("metadata"))
    language, kernel = _language(about), _object(about.get("kernelspec")).get("display_name")
    reader = _NotebookReader(language, thing, limits)
    text = "\n".join(part for cell in cells if isinstance(cell, dict) for part in reader.parts(cell))
    named = {"programming_language": language, "kernel": kernel}
    metadata: dict[str, Value] = {name: value for name, value in named.items() if isinstance(value, str) and value}
    authors = [each.get("name") for each in _list(about.get("authors")) if isinstance(each, dict)]
    if any(isinstance(name, str) for name in authors):
        metadata["author"] = [name for name in authors if isinstance(name, str)]
    title = about.get("title")
    return Extracted(text, title if isinstance(title, str) else "", metadata, tuple(reader.omissions()))


class _NotebookReader:
    """Turns cells into Markdown, and counts what is left out."""

    def __init__(self, language: str, thing: str, limits: DocumentLimits) -> None:
        self._language, self._thing, self._limits = language, thing, limits
        self._images = self._shortened = self._others = 0

    def parts(self, cell: dict[str, Any]) -> Iterator[str]:
        """The text of a cell and of its outputs."""
        kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input")))
        if kind == "code":
            if source.strip():
                yield _fenced(source, self._language)
            for output in _list(cell.get("outputs")):
                yield from self._output(_object(output))
        elif kind == "heading":  # of notebooks before version 4
            level = cell.get("level")
            yield f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 1)} {' '.join(source.split())}\n"
        elif source.strip():
            text, images = _NOTEBOOK_IMAGE.subn("", source)
            self._images += images
            yield f"{text.strip()}\n"

    def _output(self, output: dict[str, Any]) -> Iterator[str]:
        """What a cell has shown: Markdown or text, HTML where the text only names an object."""
        kind, shown = output.get("output_type"), _object(output.get("data", output))
        if kind in ("error", "pyerr"):
            said = f"{_joined(output.get('ename'))}: {_joined(output.get('evalue'))}"
            yield _fenced(self._limited(said), "text")
            return
        is_image = any(name.startswith("image/") or name in {"png", "jpeg", "svg"} for name in shown)
        self._images += is_image
        markdown = _joined(shown.get("text/markdown"))
        plain = _joined(shown.get("text/plain")) or _joined(shown.get("text"))
        if markdown.strip():
            yield f"{self._limited(markdown).strip()}\n"
        elif plain.strip() and not _OBJECT.fullmatch(plain.strip()):
            yield _fenced(self._limited(plain), "text")
        elif html := _joined(shown.get("text/html")):
            yield self._limited(markdown_of_html(html, self._thing, self._limits))
        elif shown and not is_image:
            self._others += 1

    def _limited(self, text: str) -> str:
        text = _ESCAPES.sub("", text)
        self._shortened += len(text) > MAX_OUTPUT_CHARS
        return text[:MAX_OUTPUT_CHARS]

    def omissions(self) -> Iterator[Omission]:
        """What is not in the text."""
        if self._images:
            yield Omission("embedded image", self._images)
        if self._others:
            yield Omission("output", self._others, "Neither text nor a picture.")
        if self._shortened:
            yield Omission("rest of an output", self._shortened, f"Outputs end after {MAX_OUTPUT_CHARS:,} characters.")


def _notebook(data: bytes, thing: str) -> dict[str, Any]:
    try:
        found = json.loads(decode(data, thing))
    except (ValueError, RecursionError) as error:
        raise _unreadable_notebook(thing, f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _unreadable_notebook(thing, f"JSON that is a {type(found).__name__}")
    return found


def _cells(notebook: dict[str, Any]) -> list[Any] | None:
    """The cells; before version 4 they lie in worksheets."""
    sheets = [_object(sheet).get("cells") for sheet in _list(notebook.get("worksheets"))]
    found = notebook.get("cells", [cell for cells in sheets for cell in _list(cells)] if sheets else None)
    return found if isinstance(found, list) else None


def _language(about: dict[str, Any]) -> str:
    names = (_object(about.get(key)).get(name) for key, name in (("language_info", "name"), ("kernelspec", "language")))
    return next((name for name in names if isinstance(name, str) and re.fullmatch(r"[\w+#.-]+", name)), "")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _joined(value: Any) -> str:
    """Text that a notebook has as one string, or as a list of lines."""
    return "".join(part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str))


def _fenced(text: str, language: str) -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCES.findall(text))])
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}\n"


def _unreadable_notebook(thing: str, got: str) -> DocumentError:
    remedy = "Open it in Jupyter and save it again, or remove it."
    return DocumentError(thing, kind="unreadable_notebook", expected="a Jupyter notebook", got=got, remedy=remedy)
