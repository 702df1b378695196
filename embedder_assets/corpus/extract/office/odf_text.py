"""The elements of OpenDocument as HTML: what a text and the shapes of a slide are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from html import escape
from itertools import repeat
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.limits import over_limit
from embedder_assets.corpus.extract.office.graphics import read_odf_chart
from embedder_assets.corpus.extract.office.html_writer import TableCell, html_table, text_table
from embedder_assets.corpus.extract.office.package import Package, omission, whole_number

_DEEPEST_HEADING = 6
_MOST_REPEATED = 100_000  # cells of tables that are alike
_INDEXES = {
    "table-of-content",
    "illustration-index",
    "table-index",
    "object-index",
    "alphabetical-index",
    "user-index",
}
_PLACED = {"frame", "custom-shape", "rect", "line", "connector", "ellipse", "circle", "polygon", "path", "g", "caption"}
_TRANSPARENT = {
    "section",
    "index-body",
    "numbered-paragraph",
    "text-box",
    "list-header",
    "g",
    "a-group",
    "soft-page-break",
}
# Elements inside a paragraph that say nothing of their own.
_SILENT = {
    "bookmark",
    "bookmark-start",
    "bookmark-end",
    "reference-mark",
    "soft-page-break",
    "change",
    "change-start",
    "change-end",
    "annotation-end",
    "title",
    "desc",
}
_LEFT_OUT = {"annotation": "comment", "hidden-text": "hidden text", "hidden-paragraph": "hidden text"}


class OdfText:
    """Writes elements as HTML, and keeps account of what it leaves out.

    Attributes:
        title: Of the first slide that has one, once the slides are written.
    """

    def __init__(self, package: Package, roots: Iterable[Element], thing: str) -> None:
        """Args: ``roots`` hold the styles, those of the content first."""
        self.title = ""
        self._package = package
        self._thing = thing
        self._repeated = 0
        self._styles: dict[tuple[str, str], Element] = {}
        self._lists: dict[str, Element] = {}
        for root in roots:
            for style in root.iter("style"):
                self._styles.setdefault((style.get("family", ""), style.get("name", "")), style)
            for style in root.iter("list-style"):
                self._lists.setdefault(style.get("name", ""), style)
        self._last_numbers: dict[str, int] = {}
        self._notes: list[str] = []
        self._counts: Counter[str] = Counter()
        self._embedded: list[str] = []

    def blocks(self, parent: Element) -> str:
        """The blocks of a text, and its notes behind them."""
        text = self._blocks(parent)
        notes = "".join(f"<li>{note}</li>" for note in self._notes)
        self._notes = []
        return f"{text}<ol>{notes}</ol>" if notes else text

    def slide(self, page: Element, number: int) -> str:
        """A slide: its title as a heading, what is on it, and what its speaker is to say."""
        titles = [frame for frame in page.iter("frame") if frame.get("class") == "title"]
        heading = " ".join(self.line(each) for frame in titles for each in frame.iter("p"))
        stated = " ".join("".join(each.itertext()) for frame in titles for each in frame.iter("p"))
        self.title = self.title or " ".join(stated.split())
        shapes = [each for each in page if each not in titles and each.tag in _PLACED | {"table"}]
        parts = [f"<h2>{heading.strip() or f'Slide {number}'}</h2>", *(self._block(shape) for shape in shapes)]
        for notes in page.iterfind("notes"):
            if text := "".join(self._block(frame) for frame in notes.iterfind("frame")):
                parts.append(f"<h3>Notes</h3>{text}")
        self._counts["comment"] += len(page.findall("annotation"))
        return "".join(parts)

    def omissions(self) -> Iterator[Omission]:
        """What is not in the HTML, once all of it is written."""
        for part, number in (+self._counts).items():
            yield Omission(part, number, _DETAILS.get(part, ""))
        yield from omission("embedded file", self._embedded, "Save it as a document of its own.")

    def style(self, element: Element) -> dict[str, str]:
        """The properties of an element's style, those of the styles that it is based on included."""
        family = _FAMILIES.get(element.tag, "paragraph")
        name = element.get("style-name", "")
        properties: dict[str, str] = {}
        seen: set[str] = set()
        while name and name not in seen and (style := self._styles.get((family, name))) is not None:
            seen.add(name)
            for each in (style, *style):
                for key, value in each.attrib.items():
                    properties.setdefault(key, value)
            name = style.get("parent-style-name", "")
        return properties

    def _blocks(self, parent: Element) -> str:
        return "".join(self._block(element) for element in parent)

    def _block(self, element: Element) -> str:
        writer = _BLOCKS.get(element.tag)
        if writer is not None:
            return writer(self, element)
        if element.tag in _INDEXES:
            self._counts["table of contents entry"] += sum(1 for _ in element.iter("p"))
        elif element.tag == "tracked-changes":
            self._counts["deletion"] += sum(1 for _ in element.iter("deletion"))
        elif element.tag in _TRANSPARENT or element.tag in _PLACED:
            return self._blocks(element)
        return ""

    def _paragraph(self, element: Element) -> str:
        """A paragraph, and behind it what is anchored in it."""
        if self._is_hidden(element):
            return ""
        anchored: list[Element] = []
        line = self.line(element, anchored)
        level = whole_number(element.get("outline-level"), 0) or (element.tag == "h")
        if not level:
            level = int(self.style(element).get("default-outline-level") or 0)
        tag = f"h{min(int(level), _DEEPEST_HEADING)}" if level else "p"
        text = f"<{tag}>{line}</{tag}>" if line.strip() else ""
        return text + "".join(self._block(each) for each in anchored)

    def line(self, element: Element, anchored: list[Element] | None = None) -> str:
        """The text inside an element as HTML; what cannot stand in a line goes to ``anchored``."""
        parts = [escape(element.text or "")]
        for child in element:
            parts += [self._inline(child, anchored if anchored is not None else []), escape(child.tail or "")]
        return "".join(parts)

    def _inline(self, element: Element, anchored: list[Element]) -> str:
        writer = _INLINES.get(element.tag)
        if writer is not None:
            return writer(self, element, anchored)
        if element.tag in _PLACED:
            return self._anchored(element, anchored)
        part = _LEFT_OUT.get(element.tag)
        if part is not None:
            self._counts[part] += 1
        elif element.tag not in _SILENT:
            return self.line(element, anchored)  # a field: what it shows
        return ""

    def _link(self, element: Element, anchored: list[Element]) -> str:
        text, target = self.line(element, anchored), element.get("href", "")
        return f'<a href="{escape(target)}">{text}</a>' if target.startswith(("http", "mailto:")) else text

    def _space(self, element: Element, _anchored: list[Element]) -> str:
        return _SPACES[element.tag]

    def _ruby(self, element: Element, anchored: list[Element]) -> str:
        base, *reading = (self.line(each, anchored) for each in element)
        return f"{base} ({reading[0]})" if reading else base

    def _span(self, element: Element, anchored: list[Element]) -> str:
        if self._is_hidden(element):
            return ""
        text = self.line(element, anchored)
        position = self.style(element).get("text-position", "")
        if not text.strip() or position.startswith(("0%", "baseline")) or not position:
            return text
        tag = "sub" if position.startswith(("sub", "-")) else "sup"
        return f"<{tag}>{text}</{tag}>"

    def _is_hidden(self, element: Element) -> bool:
        hidden = self.style(element).get("display") == "none"
        self._counts["hidden text"] += hidden and bool("".join(element.itertext()).strip())
        return hidden

    def _note(self, element: Element, _anchored: list[Element]) -> str:
        body = element.find("note-body")
        self._notes.append(self._blocks(body) if body is not None else "")
        return f"[{len(self._notes)}]"

    def _anchored(self, element: Element, anchored: list[Element]) -> str:
        """Of a frame in a line: the equation or the description of the picture; other frames follow the paragraph."""
        for each in element.iterfind("object"):
            root = self._object(each)
            if root is not None and root.tag == "math":
                return ElementTree.tostring(root, "unicode")
        if element.find("image") is not None and element.find("text-box") is None and element.find("object") is None:
            return self._description(element)
        anchored.append(element)
        return ""

    def _description(self, frame: Element) -> str:
        described = [frame.findtext(name) or "" for name in ("desc", "title")]
        text = next(filter(None, described), "")
        self._counts["image without description"] += not text
        return f" {escape(text)} " if text else ""

    def _frame(self, frame: Element) -> str:
        """A frame that stands alone: a table, a text box, an object or a picture."""
        if frame.get("class") in {"page-number", "date-time", "footer", "header"}:
            named = frame.get("class") in {"footer", "header"} and "".join(frame.itertext()).strip()
            self._counts[f"page {frame.get('class')}"] += bool(named)
            return ""
        for child in frame:
            if child.tag in {"text-box", "table"}:
                return self._block(child)
            if child.tag in {"object", "object-ole"}:
                return self._embedded_object(child)
            if child.tag in {"plugin", "applet", "floating-frame"}:
                self._counts["video or sound" if child.tag == "plugin" else "embedded page"] += 1
                return ""
        return f"<p>{self._description(frame)}</p>" if frame.find("image") is not None else ""

    def _object(self, element: Element) -> Element | None:
        folder = element.get("href", "").removeprefix("./").strip("/")
        part = f"{folder}/content.xml"
        return self._package.plain_xml(part) if folder and part in self._package.names else next(iter(element), None)

    def _embedded_object(self, element: Element) -> str:
        root = self._object(element)
        if root is not None and root.tag == "math":
            return f"<p>{ElementTree.tostring(root, 'unicode')}</p>"
        chart = root.find("./body/chart/chart") if root is not None else None
        if chart is None:
            self._embedded.append(element.get("href", "").removeprefix("./") or "object")
            return ""
        found = read_odf_chart(chart)
        title = f"<p>{escape(found.title)}</p>" if found.title else ""
        return title + text_table(found.rows)

    def _list(self, element: Element) -> str:
        if not self._is_ordered(element):
            return f"<ul>{''.join(f'<li>{self._blocks(item)}</li>' for item in element)}</ul>"
        name = element.get("style-name", "")
        number = self._last_numbers.get(name, 0) if element.get("continue-numbering") == "true" else 0
        items = []
        for item in element:
            number = whole_number(item.get("start-value"), number + 1)
            items.append(f'<li value="{number}">{self._blocks(item)}</li>')
        self._last_numbers[name] = number
        return f"<ol>{''.join(items)}</ol>"

    def _is_ordered(self, element: Element) -> bool:
        style = self._lists.get(element.get("style-name", ""))
        return style is not None and next((each.tag for each in style), "") == "list-level-style-number"

    def _table(self, table: Element) -> str:
        rows = ([self._cell(cell) for cell in self._repeat(row, _CELLS, "columns")] for row in self._rows(table))
        return html_table([cell for cell in row if cell is not None] for row in rows)

    def _rows(self, table: Element) -> Iterator[Element]:
        """The rows of a table, those of its header and of its groups included."""
        for child in table:
            if child.tag in {"table-header-rows", "table-rows", "table-row-group"}:
                yield from self._rows(child)
        yield from self._repeat(table, {"table-row"}, "rows")

    def _repeat(self, parent: Element, names: set[str], kind: str) -> Iterator[Element]:
        """The children of some names, each as often as it says."""
        for child in parent:
            if child.tag not in names:
                continue
            times = whole_number(child.get(f"number-{kind}-repeated"), 1)
            self._repeated += times - 1
            if self._repeated > _MOST_REPEATED:
                expected = f"at most {_MOST_REPEATED:,} rows and cells that repeat each other"
                raise over_limit(self._thing, kind="too_large", expected=expected, got="more")
            yield from repeat(child, times)

    def _cell(self, cell: Element) -> TableCell | None:
        if cell.tag == "covered-table-cell":
            return None
        rows, columns = (whole_number(cell.get(f"number-{side}-spanned"), 1) for side in ("rows", "columns"))
        return TableCell(self._blocks(cell), rows, columns)


_CELLS = {"table-cell", "covered-table-cell"}
_SPACES = {"s": " ", "tab": "\t", "line-break": "<br>"}
_FAMILIES = {"span": "text", "table": "table", "page": "drawing-page"}
_DETAILS = {
    "comment": "Comments are not part of the document.",
    "deletion": "Accept or reject the tracked changes to settle what the document says.",
    "hidden text": "It is formatted as hidden.",
    "table of contents entry": "The headings are in the text.",
}
_BLOCKS: dict[str, Callable[[OdfText, Element], str]] = {
    "p": OdfText._paragraph,
    "h": OdfText._paragraph,
    "list": OdfText._list,
    "table": OdfText._table,
    "frame": OdfText._frame,
}
_INLINES: dict[str, Callable[[OdfText, Element, list[Element]], str]] = {
    "span": OdfText._span,
    "a": OdfText._link,
    "s": OdfText._space,
    "tab": OdfText._space,
    "line-break": OdfText._space,
    "note": OdfText._note,
    "ruby": OdfText._ruby,
}
