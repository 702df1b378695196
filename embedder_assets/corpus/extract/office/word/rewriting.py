"""Rewrites the XML of a Word document to paragraphs and tables of what is shown, before it becomes HTML.

Equations and the values of fields and forms become text, text boxes, charts and diagrams follow their paragraph. What
is not shown goes: deletions, hidden text, tables of contents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.equations import MATH, EquationText
from embedder_assets.corpus.extract.office.graphics import Chart
from embedder_assets.corpus.extract.office.word.numbering import W
from embedder_assets.corpus.extract.office.word.styles import WordStyles

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_VML, _OFFICE = "{urn:schemas-microsoft-com:vml}", "{urn:schemas-microsoft-com:office:office}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}chart"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_BOXES = ("☐", "☒")
_OFF = {"0", "false", "off", "none"}


class WordXml:
    """One part of a Word document (its body, its notes), which ``rewrite`` changes in place.

    Attributes:
        root: The root of the part.
        left_out: How many of which part are not in what remains.
    """

    def __init__(
        self,
        root: Element,
        equations: EquationText,
        styles: WordStyles,
        read_graphic: Callable[[str], Chart | list[str] | None],
    ) -> None:
        """Args: ``read_graphic`` gives the chart or the diagram of a relationship."""
        self.root = root
        self._equations = equations
        self.left_out: Counter[str] = Counter()
        self._styles = styles
        self._read_graphic = read_graphic
        self._parents: dict[Element, Element] = {}

    def rewrite(self) -> None:
        """Does all of it."""
        steps: tuple[Callable[[], None], ...] = (
            self._choose_alternatives,
            self._drop_what_is_not_shown,
            self._replace_equations,
            self._keep_forms,
            self._move_graphics,
            self._join_drop_caps,
        )
        for step in steps:
            self._parents = {child: parent for parent in self.root.iter() for child in parent}
            step()

    def _elements(self, *names: str) -> Iterator[Element]:
        wanted = set(names)
        yield from [element for element in self.root.iter() if element.tag in wanted]

    def _replace(self, element: Element, others: list[Element]) -> None:
        parent = self._parents[element]
        at = list(parent).index(element)
        parent[at : at + 1] = others
        self._parents |= dict.fromkeys(others, parent)

    def _choose_alternatives(self) -> None:
        """Of the ways to write a graphic, the first one, which is the newest."""
        for element in self._elements(_COMPATIBILITY + "AlternateContent"):
            chosen = next((choice for choice in element if len(choice)), None)
            self._replace(element, [] if chosen is None else list(chosen))

    def _drop_what_is_not_shown(self) -> None:
        for row in self._elements(W + "tr"):
            if row.find(f"{W}trPr/{W}del") is not None:
                self.left_out["deletion"] += 1
                self._replace(row, [])
        for element in self._elements(W + "del", W + "moveFrom"):
            self.left_out["deletion"] += element.tag == W + "del" and bool(self._text(element))
            self._replace(element, [])
        for control in self._elements(W + "sdt"):
            if control.find(f"{W}sdtPr/{W}showingPlcHdr") is not None:
                self.left_out["empty form field"] += 1
                self._replace(control, [])
        for run in self._elements(W + "r"):
            if self._is_hidden(run):
                self.left_out["hidden text"] += bool(self._text(run))
                self._replace(run, [])
        for contents in [*self._elements(W + "sdt"), *self._elements(W + "p")]:
            if _is_table_of_contents(contents):
                self.left_out["table of contents entry"] += len(list(contents.iter(W + "p")))
                self._replace(contents, [])

    def _is_hidden(self, run: Element) -> bool:
        properties = run.find(W + "rPr")
        if properties is None:
            return False
        if (vanish := properties.find(W + "vanish")) is not None:
            return vanish.get(W + "val") not in _OFF
        style = properties.find(W + "rStyle")
        return style is not None and style.get(W + "val") in self._styles.hidden

    def _text(self, element: Element) -> str:
        return "".join(each.text or "" for each in element.iter() if each.tag in {W + "t", W + "delText"}).strip()

    def _replace_equations(self) -> None:
        for display in self._elements(MATH + "oMathPara"):
            self._replace(display, list(display.iter(MATH + "oMath")))
        for equation in self._elements(MATH + "oMath"):
            placeholder = self._equations.placeholder(equation)
            self._replace(equation, [_run(placeholder)] if placeholder else [])

    def _keep_forms(self) -> None:
        for box in self._elements(_W14 + "checkbox"):
            self._replace(box, [])  # its content has the mark that is shown
        for data in self._elements(W + "ffData"):
            run = self._parents[self._parents[data]]
            if text := _form_value(data):
                self._parents[run].insert(list(self._parents[run]).index(run), _run(text))
            self._parents[data].remove(data)
        for ruby in self._elements(W + "ruby"):
            base, reading = (self._text_below(ruby, name) for name in ("rubyBase", "rt"))
            self._replace(ruby, [_text(f"{base} ({reading})" if reading else base)])

    def _text_below(self, element: Element, name: str) -> str:
        return "".join(self._text(each) for each in element.findall(W + name))

    def _move_graphics(self) -> None:
        for graphic in self._elements(W + "drawing", W + "pict", W + "object"):
            host = self._paragraph_of(graphic)
            blocks = list(self._blocks_of(graphic))
            alternative = "" if blocks else self._alternative_text(graphic)
            self._replace(graphic, [_text(alternative)] if alternative else [])
            parent = self._parents[host]
            at = list(parent).index(host) + 1
            parent[at:at] = blocks
            self._parents |= dict.fromkeys(blocks, parent)

    def _paragraph_of(self, element: Element) -> Element:
        while element.tag != W + "p" and self._parents.get(element) is not None:
            element = self._parents[element]
        return element

    def _blocks_of(self, graphic: Element) -> Iterator[Element]:
        for box in graphic.iter(W + "txbxContent"):
            yield from box
            box.clear()  # what is in a box inside this box comes with it
        for element in _named(graphic, _CHART, _DIAGRAM):
            found = self._read_graphic(element.get(_R + "id") or element.get(_R + "dm") or "")
            if isinstance(found, Chart):
                if found.title:
                    yield _paragraph(found.title)
                if found.rows:
                    yield _table(found.rows)
            elif found:
                yield from map(_paragraph, found)
            elif element.tag == _DIAGRAM:
                self.left_out["diagram"] += 1

    def _alternative_text(self, graphic: Element) -> str:
        ole = graphic.find(f".//{_OFFICE}OLEObject")
        if ole is not None:
            if (ole.get("ProgID") or "").startswith(("Equation", "Mathtype")):
                self.left_out["equation"] += 1
            return ""
        if any(each.tag.endswith("}chart") for each in graphic.iter()):  # of a kind that keeps no values
            self.left_out["chart"] += 1
        names = _named(graphic, _DRAWING + "docPr", _VML + "textpath", _VML + "shape", _VML + "rect")
        keys = ("descr", "string", "alt", "title")
        text = next((found for each in names for key in keys if (found := each.get(key))), "")
        pictured = any(each.tag.endswith(("}blip", "}imagedata")) for each in graphic.iter())
        self.left_out["image without description"] += pictured and not text
        return f" {text} " if text else ""

    def _join_drop_caps(self) -> None:
        """A large first letter, which is a paragraph of its own, goes back to its word."""
        for properties in self._elements(W + "framePr"):
            letter = self._parents.get(self._parents[properties])
            if letter is None or letter.tag != W + "p" or not properties.get(W + "dropCap"):
                continue
            parent = self._parents[letter]
            at = list(parent).index(letter)
            following = parent[at + 1] if at + 1 < len(parent) else None
            if following is not None and following.tag == W + "p":
                first = 1 if following.find(W + "pPr") is not None else 0
                following[first:first] = letter.findall(W + "r")
                parent.remove(letter)


def _named(element: Element, *names: str) -> list[Element]:
    return [each for each in element.iter() if each.tag in names]


def _form_value(data: Element) -> str:
    """What a field of a form shows besides its text: the mark of a box, the chosen line of a list."""
    box = data.find(W + "checkBox")
    if box is not None:
        state = next((each for name in ("checked", "default") if (each := box.find(W + name)) is not None), None)
        return _BOXES[state is not None and state.get(W + "val") not in _OFF]
    lines = [each.get(W + "val") or "" for each in data.findall(f"{W}ddList/{W}listEntry")]
    chosen = data.find(f"{W}ddList/{W}result")
    number = (chosen.get(W + "val") or "0") if chosen is not None else "0"
    return lines[int(number)] if number.isdigit() and int(number) < len(lines) else ""


def _is_table_of_contents(element: Element) -> bool:
    if element.tag == W + "sdt":
        gallery = element.find(f"{W}sdtPr/{W}docPartObj/{W}docPartGallery")
        return gallery is not None and gallery.get(W + "val") == "Table of Contents"
    style = element.find(f"{W}pPr/{W}pStyle")
    name = (style.get(W + "val") or "") if style is not None else ""
    return name[:3].upper() == "TOC" and name[3:].isdigit()


def _text(text: str) -> Element:
    element = Element(W + "t")
    element.text = text
    return element


def _run(text: str) -> Element:
    run = Element(W + "r")
    run.append(_text(text))
    return run


def _paragraph(text: str) -> Element:
    paragraph = Element(W + "p")
    paragraph.append(_run(text))
    return paragraph


def _cell(text: str) -> Element:
    cell = Element(W + "tc")
    cell.append(_paragraph(text))
    return cell


def _table(rows: list[list[str]]) -> Element:
    table = Element(W + "tbl")
    for values in rows:
        row = ElementTree.SubElement(table, W + "tr")
        row.extend(_cell(value) for value in values)
    return table
