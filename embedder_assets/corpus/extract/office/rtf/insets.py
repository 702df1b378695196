"""Fields, pictures, objects and equations in the text of RTF."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from embedder_assets.corpus.extract.office.equations import MATH, EquationText
from embedder_assets.corpus.extract.office.rtf.groups import RtfGroups
from embedder_assets.corpus.extract.office.rtf.state import Drawing, Field, nowhere
from embedder_assets.corpus.extract.office.word.symbols import symbol

_LINK = re.compile(r'\s*HYPERLINK\s+"?((?:https?:|mailto:)[^"\s]+)', re.IGNORECASE)
_SYMBOL_FIELD = re.compile(r'\s*SYMBOL\s+(\d{1,5})(?:[^\\]*\\f\s+"?([^"\\]+))?', re.IGNORECASE)
_LINES_OF_CONTENTS = re.compile(r"</(?:p|li|h\d)>")
_NOT_CHANGED = 25  # of a field of a form: it has its default


class RtfInsets(RtfGroups):
    """What stands in the text and is no text.

    Attributes:
        equations: Those whose places are in the HTML.
    """

    def __init__(self, thing: str, deepest: int) -> None:
        super().__init__(thing, deepest)
        self.equations = EquationText()
        self._fields: list[Field] = []

    def field(self, _number: int) -> None:
        """Begins a field."""
        self._fields.append(Field())
        self.at_end(self._end_field)

    def _end_field(self) -> None:
        self._fields.pop()

    def field_instruction(self, _number: int) -> None:
        """What the field is to show."""
        self.capture(self._instructed)

    def _instructed(self, text: str) -> None:
        if not self._fields:
            return
        field = self._fields[-1]
        field.instruction += text
        found = _SYMBOL_FIELD.match(text)
        if found:
            shown = symbol((found[2] or "").strip(), f"{int(found[1]):x}")
            self.left_out["symbol"] += not shown
            self.say(shown)
        elif value := field.form_value():
            self.say(value)

    def field_result(self, _number: int) -> None:
        """What it shows."""
        instruction = self._fields[-1].instruction if self._fields else ""
        kind = instruction.split(maxsplit=1)[:1]
        if found := _LINK.match(instruction):
            self.state.link = found[1]
        elif kind == ["TOC"]:
            self.flow(self._drop_contents)
        elif kind and kind[0] in {"FORMCHECKBOX", "FORMDROPDOWN", "SYMBOL"}:
            self.state.sink = None  # it is written already

    def _drop_contents(self, html: str) -> None:
        self.left_out["table of contents entry"] += len(_LINES_OF_CONTENTS.findall(html))

    def form_result(self, number: int) -> None:
        """The value of a field of a form."""
        if self._fields and number != _NOT_CHANGED:
            self._fields[-1].result = number

    def form_default(self, number: int) -> None:
        """The value that it has unless it was changed."""
        if self._fields and self._fields[-1].result is None:
            self._fields[-1].result = number

    def form_line(self, _number: int) -> None:
        """A line to choose from."""
        if self._fields:
            self.capture(self._fields[-1].lines.append)

    def drawing(self, _number: int) -> None:
        """Begins a shape, which its pictures and boxes lie in."""
        drawing = self.state.drawing = Drawing()
        self.state.sink = nowhere

        def close() -> None:
            if drawing.description:
                self.say(f" {drawing.description} ")
            else:
                self.left_out["image without description"] += drawing.has_picture and not self.state.is_object

        self.at_end(close)

    def picture(self, number: int) -> None:
        """A picture, alone or in a shape."""
        if self.state.drawing is None:
            self.drawing(number)
        self.state.sink = nowhere
        if self.state.drawing is not None:
            self.state.drawing.has_picture = True

    def shape_name(self, _number: int) -> None:
        """The name of a property of a shape."""
        drawing = self.state.drawing
        if drawing is not None:
            self.capture(lambda text: setattr(drawing, "name", text))

    def shape_value(self, _number: int) -> None:
        """The value of the property that was named."""
        drawing = self.state.drawing
        if drawing is not None and drawing.name == "wzDescription":
            self.capture(lambda text: setattr(drawing, "description", text.strip()))

    def object(self, _number: int) -> None:
        """Begins an object of another application."""
        self.state.is_object = True
        self.state.object_class = [""]

    def object_class(self, _number: int) -> None:
        """Which application that is."""
        kept = self.state.object_class

        def keep(text: str) -> None:
            kept[0] = text

        self.capture(keep)

    def object_data(self, _number: int) -> None:
        """The object itself, which is not read."""
        part = "equation" if self.state.object_class[0].startswith("Equation") else "embedded file"
        self.left_out[part] += 1
        self.state.sink = None

    def math(self, _number: int) -> None:
        """An equation."""
        root = self.state.math = Element("math")
        self.state.sink = nowhere

        def close() -> None:
            for equation in root.iter(f"{MATH}oMath"):
                self.say(self.equations.placeholder(equation))

        self.at_end(close)

    def math_element(self, parent: Element, name: str) -> None:
        """An element of an equation, which has the names of Office's own."""
        element = self.state.math = SubElement(parent, MATH + name)
        self.state.sink = nowhere

        def keep(text: str) -> None:
            if name == "r":
                SubElement(element, f"{MATH}t").text = text
            elif text:
                element.set(f"{MATH}val", text)

        if name == "r" or parent.tag.endswith("Pr"):
            self.capture(keep)
