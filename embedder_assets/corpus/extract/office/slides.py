"""PowerPoint presentations (PPTX): a section per slide, in the order in which they are shown.

The shapes of a slide are read as they are seen: the title, then from the top down and from left to right. Elements and
attributes are those of ECMA-376, part 1, 19.3 and 21.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.equations import MATH, EquationText
from embedder_assets.corpus.extract.office.graphics import Chart, read_chart, read_diagram
from embedder_assets.corpus.extract.office.html_writer import Item, TableCell, html_list, html_table, text_table
from embedder_assets.corpus.extract.office.package import (
    Package,
    Relationship,
    omission,
    open_package,
    texts,
    whole_number,
)
from embedder_assets.corpus.extract.office.properties import core_properties

_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"dt", "ftr", "hdr", "sldNum", "sldImg"}
_BAND = 300_000  # EMU, a third of an inch: shapes whose tops lie in the same band stand next to each other


def extract_slides(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a presentation into Markdown; its pages are the slides that are shown.

    Raises:
        DocumentError: With kind ``unreadable_office``, ``encrypted_office``, ``too_large``, ``too_deep`` or
            ``xml_entities``.
    """
    with open_package(data, thing, limits) as package:
        presentation = _Presentation(package, package.main_part(thing, ".pptx"))
        fill = presentation.equations.fill
        slides = [fill(markdown_of_html(html, thing, limits)) for html in presentation.slides()]
        offsets, text = [], ""
        for slide in slides:
            text += "\n" if text else ""
            offsets.append(len(text))
            text += slide
        title, metadata = core_properties(package)
        return Extracted(
            text,
            title or presentation.title or PurePosixPath(thing).stem,
            metadata,
            tuple(presentation.omissions()),
            tuple(offsets),
        )


class _Presentation:
    """A package whose main part is a presentation.

    Attributes:
        title: Of the first slide that has one, once the slides are read.
        equations: Those of its slides.
    """

    def __init__(self, package: Package, main: str) -> None:
        self._package = package
        self._main = main
        self.title = ""
        self._hidden: list[str] = []
        self._footers: list[str] = []
        self._counts: Counter[str] = Counter()
        self.equations = EquationText()

    def slides(self) -> Iterator[str]:
        """The slides that are shown, as HTML."""
        targets = self._package.relationships(self._main)
        root = self._package.plain_xml(self._main)
        parts = [targets[each.get("r:id", "")].target for each in root.findall("./sldIdLst/sldId")]
        for number, part in enumerate(dict.fromkeys(parts), start=1):
            slide = _Slide(self._package, part, self.equations, self._counts)
            if slide.is_hidden:
                self._hidden.append(f"{number} {slide.title}".strip())
                continue
            self.title = self.title or slide.title
            yield slide.html(number)
            self._footers += slide.footers()
            for comments in self._package.related(part, "comments"):
                self._counts["comment"] += len(list(self._package.plain_xml(comments).iter("cm")))

    def omissions(self) -> Iterator[Omission]:
        """What of the presentation is not in its text, once the slides are read."""
        yield from omission("hidden slide", self._hidden)
        yield from omission("page footer", list(dict.fromkeys(self._footers)))
        for part, number in (+self._counts).items():
            yield Omission(part, number)
        yield from self._package.losses()


class _Slide:
    """One slide and its notes."""

    def __init__(self, package: Package, part: str, equations: EquationText, counts: Counter[str]) -> None:
        self._package = package
        self._part = part
        self._root = package.plain_xml(part)
        self._targets = package.relationships(part)
        self._equations = equations
        self._counts = counts
        self._titles = [shape for shape in self._root.iter("sp") if _placeholder(shape) in _TITLES]
        self.is_hidden = self._root.get("show") in {"0", "false"}
        self.title = " ".join(texts([each for shape in self._titles for each in shape.iter("t")]).split())

    def html(self, number: int) -> str:
        """The title as a heading, what the slide shows, and what its speaker is to say."""
        heading = " ".join(filter(None, (self._line(each) for shape in self._titles for each in shape.iter("p"))))
        tree = self._root.find("./cSld/spTree")
        parts = [f"<h2>{heading or f'Slide {number}'}</h2>"]
        if tree is not None:
            parts += [self._shape(shape) for shape in _as_seen(tree)]
        for notes in self._package.related(self._part, "notesSlide"):
            bodies = [each for each in self._package.plain_xml(notes).iter("sp") if _placeholder(each) == "body"]
            if text := "".join(self._paragraphs(each) for each in bodies):
                parts.append(f"<h3>Notes</h3>{text}")
        return "".join(parts)

    def footers(self) -> Iterator[str]:
        """What stands at the foot of the slide besides its number and date."""
        for shape in self._root.iter("sp"):
            if _placeholder(shape) == "ftr" and (text := texts(shape.iter("t"))):
                yield text

    def _shape(self, shape: Element) -> str:
        if shape.tag == "AlternateContent":
            return "".join(self._shape(each) for choice in shape[:1] for each in choice)
        if shape.tag == "grpSp":
            return "".join(self._shape(each) for each in shape)
        if shape.tag == "sp" and _placeholder(shape) not in _TITLES | _FURNITURE:
            return self._paragraphs(shape, bulleted=_placeholder(shape) in {"body", "obj", "subTitle"})
        if shape.tag == "graphicFrame":
            return self._frame(shape)
        return self._picture(shape) if shape.tag == "pic" else ""

    def _picture(self, picture: Element) -> str:
        for name in ("video", "audio"):
            if picture.find(f"./nvPicPr/nvPr/{name}File") is not None:
                self._counts[name] += 1
                return ""
        properties = picture.find("./nvPicPr/cNvPr")
        text = (properties.get("descr") or "") if properties is not None else ""
        decorates = any(each.get("val") in {"1", "true"} for each in picture.iter("decorative"))
        self._counts["image without description"] += not text and not decorates
        return f"<p>{escape(text)}</p>" if text else ""

    def _frame(self, frame: Element) -> str:
        if (table := frame.find(".//tbl")) is not None:
            return html_table(self._row(row) for row in table.iterfind("tr"))
        for element in frame.iter():
            key = {"chart": "r:id", "relIds": "r:dm"}.get(element.tag)
            target = self._targets.get(element.get(key, "")) if key else None
            if target is not None and target.target in self._package.names:
                return self._graphic(target)
        return ""

    def _graphic(self, target: Relationship) -> str:
        if target.kind == "diagramData":
            return html_list([Item(0, escape(line)) for line in read_diagram(self._package, target.target)])
        chart = read_chart(self._package, target.target) if target.kind == "chart" else Chart("", [])
        self._counts["chart"] += not chart.rows  # of a kind that keeps no values
        return (f"<p>{escape(chart.title)}</p>" if chart.title else "") + text_table(chart.rows)

    def _row(self, row: Element) -> list[TableCell]:
        return [
            TableCell(self._paragraphs(cell), _number(cell, "rowSpan"), _number(cell, "gridSpan"))
            for cell in row.iterfind("tc")
            if not {cell.get("hMerge"), cell.get("vMerge")} & {"1", "true"}
        ]

    def _paragraphs(self, shape: Element, *, bulleted: bool = False) -> str:
        """The text of a shape or cell; what has a bullet, in a body also by its layout, is an item of a list."""
        body = shape.find("txBody")
        lines = [(each, self._line(each)) for each in body.iterfind("p")] if body is not None else []
        lines = [(paragraph, line) for paragraph, line in lines if line]
        bulleted = bulleted and len(lines) > 1
        parts: list[str] = []
        items: list[Item] = []
        for paragraph, line in lines:
            item = _item(paragraph, line, bulleted=bulleted)
            if item is not None:
                above = next((each for each in reversed(items) if each.level <= item.level), None)
                if item.number is not None and above is not None and above.level == item.level:
                    item = item._replace(number=(above.number or 0) + 1)
                items.append(item)
                continue
            parts += [html_list(items), f"<p>{line}</p>"]
            items = []
        return "".join([*parts, html_list(items)])

    def _line(self, paragraph: Element) -> str:
        return "".join(self._run(run) for run in paragraph).strip()

    def _run(self, run: Element) -> str:
        if run.tag == "br":
            return "<br>"
        if run.tag == "AlternateContent":
            return "".join(self._run(each) for choice in run[:1] for each in choice)
        if run.tag == "m" or run.tag.startswith(MATH):
            return "".join(self._equations.placeholder(each) for each in run.iter(f"{MATH}oMath"))
        return self._text(run) if run.tag in {"r", "fld"} and run.get("type") != "slidenum" else ""

    def _text(self, run: Element) -> str:
        text = escape(run.findtext("t") or "")
        properties = run.find("rPr")
        if properties is None or not text.strip():
            return text
        raised = _number(properties, "baseline", 0)
        if raised:
            text = f"<sup>{text}</sup>" if raised > 0 else f"<sub>{text}</sub>"
        link = properties.find("hlinkClick")
        target = self._targets.get(link.get("r:id", "")) if link is not None else None
        if target is not None and target.target.startswith(("http:", "https:", "mailto:")):
            return f'<a href="{escape(target.target)}">{text}</a>'
        return text


def _item(paragraph: Element, line: str, *, bulleted: bool) -> Item | None:
    """The paragraph as an item, if it has a bullet or number, or is in a body of bullets and does not say otherwise."""
    properties = paragraph.find("pPr")
    level = _number(properties, "lvl", 0) if properties is not None else 0
    if properties is not None:
        if properties.find("buNone") is not None:
            return None
        if (numbers := properties.find("buAutoNum")) is not None:
            return Item(level, line, _number(numbers, "startAt"))
        bulleted = bulleted or properties.find("buChar") is not None
    return Item(level, line) if bulleted else None


def _placeholder(shape: Element) -> str:
    """What a shape holds the place of, as its type says (``body`` where it says nothing); empty for other shapes."""
    place = shape.find("./nvSpPr/nvPr/ph")
    return "" if place is None else place.get("type", "body")


def _as_seen(tree: Element) -> list[Element]:
    """The shapes from the top down, in a band from left to right; first those whose place the layout decides."""

    def place(shape: Element) -> tuple[int, int]:
        offset = next(
            (
                each
                for name in ("./spPr/xfrm/off", "./xfrm/off", "./grpSpPr/xfrm/off")
                if (each := shape.find(name)) is not None
            ),
            None,
        )
        return (-1, 0) if offset is None else (_number(offset, "y", 0) // _BAND, _number(offset, "x", 0))

    return sorted(tree, key=place)


def _number(element: Element, name: str, otherwise: int = 1) -> int:
    return whole_number(element.get(name), otherwise, signed=True)
