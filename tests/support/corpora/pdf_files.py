"""PDF files for tests: lines at their places, forms, and files whose objects are written by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import reportlab
from reportlab.pdfgen.canvas import Canvas

FONT_FILE = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
TOP, STEP = 700, 20
HEAD, FOOT = 800, 40


def drawn(*pages: Callable[[Canvas], object], **options: object) -> bytes:
    """A PDF whose pages are drawn by functions of a canvas."""
    file = io.BytesIO()
    canvas = Canvas(file, **options)
    for draw in pages:
        canvas.setFont("Helvetica", 12)
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def placed(*pages: Iterable[tuple[float, float, str] | tuple[float, float, str, float]]) -> bytes:
    """A PDF of texts at (x, y) in points from the lower left corner, in 12 points or in their own size."""

    def page(texts: Iterable[tuple[float, float, str] | tuple[float, float, str, float]]) -> Callable[[Canvas], object]:
        def draw(canvas: Canvas) -> None:
            for x, y, text, *size in texts:
                canvas.setFont("Helvetica", size[0] if size else 12)
                canvas.drawString(x, y, text)

        return draw

    return drawn(*map(page, pages))


def paged(
    *pages: Iterable[str], head: Callable[[int], str] | None = None, foot: Callable[[int], str] | None = None
) -> bytes:
    """A PDF of lines from the top of the body, with a head and a foot that are made from the number from 1."""

    def texts(number: int, lines: Iterable[str]) -> Iterable[tuple[float, float, str]]:
        if head:
            yield 72, HEAD, head(number)
        yield from ((72, TOP - STEP * row, line) for row, line in enumerate(lines))
        if foot:
            yield 72, FOOT, foot(number)

    return placed(*(texts(number, lines) for number, lines in enumerate(pages, start=1)))


def raw_pdf(*objects: bytes) -> bytes:
    """A PDF of objects that are numbered from 1; the first is the catalogue."""
    parts, offsets = [b"%PDF-1.7\n"], []
    for number, content in enumerate(objects, start=1):
        offsets.append(sum(map(len, parts)))
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start, size = sum(map(len, parts)), len(objects) + 1
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, start)
    return b"".join([*parts, b"xref\n0 %d\n0000000000 65535 f \n" % size, table, end])


def stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>\nstream\n%s\nendstream" % (extra, len(content), content)


def one_page(content: bytes, *others: bytes, resources: bytes = b"", page: bytes = b"", catalog: bytes = b"") -> bytes:
    """A PDF of one page that draws ``content``; F1 is Helvetica, and ``others`` are the objects from number 6."""
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R%s>>>>%s>>"
        % (resources, page),
        stream(content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        *others,
    )


SECRET_WORDS = b"<0036004800460055004800570003005A00520055004700560003> Tj"


def unreadable_font(shown: bytes = SECRET_WORDS, to_unicode: bytes = b"", readable: bytes = b"") -> bytes:
    """A page that shows glyphs of a font that names no letters, unless ``to_unicode`` does.

    A line in Helvetica stands above them where ``readable`` has text.
    """
    line = b"/F1 12 Tf 72 720 Td (%s) Tj -72 -720 Td " % readable if readable else b""
    content = b"BT %s/F2 12 Tf 72 700 Td %s ET" % (line, shown)
    program = FONT_FILE.read_bytes().replace(b"cmap", b"none", 1)
    return one_page(
        content,
        b"<</Type/Font/Subtype/Type0/BaseFont/ABCDEF+Vera/Encoding/Identity-H/DescendantFonts[7 0 R]%s>>"
        % (b"/ToUnicode 10 0 R" if to_unicode else b""),
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/ABCDEF+Vera/FontDescriptor 8 0 R/DW 600/CIDToGIDMap/Identity"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>",
        b"<</Type/FontDescriptor/FontName/ABCDEF+Vera/Flags 4/FontBBox[-100 -200 1000 900]/ItalicAngle 0/Ascent 900"
        b"/Descent -200/CapHeight 700/StemV 80/FontFile2 9 0 R>>",
        stream(program, b"/Length1 %d" % len(program)),
        stream(to_unicode),
        resources=b"/F2 6 0 R",
    )


def to_unicode(**glyphs: str) -> bytes:
    """A map from glyph numbers (``g0036``) to text, for ``unreadable_font``."""
    rows = b"".join(
        b"<%s> <%s> " % (name[1:].encode(), text.encode("utf-16-be").hex().encode()) for name, text in glyphs.items()
    )
    return (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
        b"%d beginbfchar %s endbfchar\nendcmap end end" % (len(glyphs), rows)
    )


def annotated(*annotations: bytes, text: bytes = b"Some words", catalog: bytes = b"") -> bytes:
    """A page with a line of text at (72, 700) and annotations, each the inside of a dictionary."""
    first = 6
    numbers = b" ".join(b"%d 0 R" % (first + n) for n in range(len(annotations)))
    fields = b"/AcroForm<</Fields[%s]/DA(/Helv 12 Tf)>>" % numbers
    return one_page(
        b"BT /F1 12 Tf 72 700 Td (%s) Tj ET" % text,
        *(b"<</Type/Annot%s>>" % each for each in annotations),
        page=b"/Annots[%s]" % numbers,
        catalog=fields + catalog,
    )
