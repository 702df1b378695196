"""What the control words of RTF do (specification 1.9.1), and what of a document is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape

from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.office.package import PAGE_NUMBER, omission
from embedder_assets.corpus.extract.office.rtf.encoding import Font, codec_of_charset, codec_of_code_page
from embedder_assets.corpus.extract.office.rtf.insets import RtfInsets
from embedder_assets.corpus.extract.office.rtf.state import Style, nowhere
from embedder_assets.corpus.extract.office.rtf.words import DETAILS, DROPPED, HIDDEN, MARKS, TRANSPARENT
from embedder_assets.corpus.extract.office.rtf.writer import CellPlace, RowPlan

_TAG = re.compile(r"<[^>]*>")
_DEEPEST_TABLE, _DEEPEST_LIST = 50, 8


class RtfReader(RtfInsets):
    """Reads one document.

    Attributes:
        properties: What it says of itself, by the names that ``properties_of`` knows.
    """

    def __init__(self, thing: str, deepest: int) -> None:
        super().__init__(thing, deepest)
        self.properties: dict[str, str] = {}
        self._furniture: dict[str, list[str]] = {"page header": [], "page footer": []}
        self._notes: list[str] = []
        self._styles: dict[int, Style] = {}
        self._plans: dict[bool, RowPlan] = {}  # of the rows of tables, and of those of tables in cells

    def html(self, data: bytes) -> str:
        """The whole document, its notes behind it."""
        text = self.read(data)
        notes = "".join(f"<li>{note}</li>" for note in self._notes)
        return f"{text}<ol>{notes}</ol>" if notes else text

    def omissions(self) -> Iterator[Omission]:
        """What is not in the HTML, once that is made."""
        for part, number in (+self.left_out).items():
            yield Omission(part, number, DETAILS.get(part, ""))
        for part, texts in self._furniture.items():
            yield from omission(part, list(dict.fromkeys(texts)))

    def obey(self, word: str, number: int | None, *, is_first: bool, is_starred: bool) -> None:
        """Does what a control word says."""
        state = self.state
        if state.math is not None and is_first and word.startswith("m") and word not in DROPPED:
            self.math_element(state.math, word[1:])
        elif is_first and word in DROPPED:
            if DROPPED[word]:
                self.left_out[DROPPED[word]] += 1
            state.sink = None
        elif word in MARKS:
            state.mark(MARKS[word], is_on=number != 0)
        elif word in HIDDEN:
            state.hidden = HIDDEN[word] if number != 0 else ""
        elif (handler := _WORDS.get(word) or (_GROUPS.get(word) if is_first else None)) is not None:
            handler(self, number or 0)
        elif is_first and is_starred and word not in TRANSPARENT:
            state.sink = None

    def _set_font(self, number: int) -> None:
        self.state.font = number
        if self.state.is_font_table:
            font = self.fonts[number] = Font()

            def name(text: str) -> None:
                font.name += text

            self.state.sink = name

    def _set_charset(self, number: int) -> None:
        if self.state.is_font_table:
            self.fonts.setdefault(self.state.font or 0, Font()).codec = codec_of_charset(number)

    def _font_table(self, _number: int) -> None:
        self.state.is_font_table = True
        self.state.sink = nowhere

    def _set_style(self, number: int) -> None:
        self.state.style = number
        if self.state.is_stylesheet:
            style = self._styles[number] = Style()

            def name(text: str) -> None:
                style.name += text

            self.state.sink = name

    def _stylesheet(self, _number: int) -> None:
        self.state.is_stylesheet = True
        self.state.sink = nowhere

    def _set_outline(self, number: int) -> None:
        if self.state.is_stylesheet:
            self._styles.setdefault(self.state.style, Style()).outline = number
        else:
            self.state.outline = number

    def _set_base(self, number: int) -> None:
        if self.state.is_stylesheet:
            self._styles.setdefault(self.state.style, Style()).base = number

    def _end_paragraph(self, _number: int) -> None:
        if self.state.sink == self.show:
            self.writer.end_paragraph(self.state.table_level, self.state.heading(self._styles), self.state.item_level())
        else:
            self.say(" ")

    def _end_cell(self, _number: int) -> None:
        self._cell_of(1)

    def _end_inner_cell(self, _number: int) -> None:
        self._cell_of(max(2, self.state.table_level))

    def _cell_of(self, level: int) -> None:
        if self.state.sink == self.show:
            self.writer.end_cell(level, self.state.heading(self._styles), self.state.item_level())

    def _end_row(self, _number: int) -> None:
        self._row_of(1)

    def _end_inner_row(self, _number: int) -> None:
        self._row_of(max(2, self.state.table_level))

    def _row_of(self, level: int) -> None:
        self.writer.end_row(level, self._plans.get(level > 1) or RowPlan())

    def _inner_row_plan(self, _number: int) -> None:
        self.state.is_inner_plan = True

    def _begin_plan(self, _number: int) -> None:
        self._plans[self.state.is_inner_plan] = RowPlan()
        self.state.next_cell = CellPlace(0)

    def _plan_edge(self, number: int) -> None:
        self._plan().left = number

    def _plan_cell(self, number: int) -> None:
        place, self.state.next_cell = self.state.next_cell, CellPlace(0)
        place.right = number
        self._plan().cells.append(place)

    def _plan(self) -> RowPlan:
        return self._plans.setdefault(self.state.is_inner_plan, RowPlan())

    def _note(self, _number: int) -> None:
        at = len(self._notes)
        self._notes.append("")
        self.state.marks, self.state.link = (), ""
        self.say(f"[{at + 1}]")

        def keep(html: str) -> None:
            self._notes[at] = html

        self.flow(keep)

    def _box(self, _number: int) -> None:
        self.flow(self.writer.add_box)

    def _page_part(self, part: str, _number: int) -> None:
        def keep(html: str) -> None:
            text = " ".join(unescape(_TAG.sub(" ", html)).split())
            if not PAGE_NUMBER.fullmatch(text):
                self._furniture[part].append(text)

        self.flow(keep)

    def _label(self, _number: int) -> None:
        def keep(text: str) -> None:
            self.writer.label = text.strip()

        if self.state.sink == self.show:
            self.capture(keep)

    def _property(self, name: str, _number: int) -> None:
        self.state.font = -1  # in the characters of the document

        def keep(text: str) -> None:
            self.properties.setdefault(name, text)

        self.capture(keep)

    def _time(self, name: str, _number: int) -> None:
        time = self.state.time = {}

        def keep(_text: str) -> None:
            year, month, day, *clock = (time.get(part, 0) for part in ("yr", "mo", "dy", "hr", "min", "sec"))
            if year and month and day:
                hour, minute, second = clock
                self.properties[name] = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"

        self.capture(keep)

    def _time_part(self, name: str, number: int) -> None:
        self.state.time[name] = number

    def _raise(self, mark: str, number: int) -> None:
        self.state.mark(mark, is_on=number != 0)

    def _not_raised(self, _number: int) -> None:
        self.state.mark("sup", is_on=False)

    def _plain(self, _number: int) -> None:
        self.state.plain()

    def _begin_paragraph(self, _number: int) -> None:
        self.state.begin_paragraph()

    def _in_table(self, _number: int) -> None:
        self.state.table_level = max(1, self.state.table_level)

    def _table_level(self, number: int) -> None:
        self.state.table_level = min(max(0, number), _DEEPEST_TABLE)

    def _in_list(self, number: int) -> None:
        self.state.in_list = number > 0

    def _list_level(self, number: int) -> None:
        self.state.list_level = min(number, _DEEPEST_LIST)

    def _continues_left(self, _number: int) -> None:
        self.state.next_cell.continues_left = True

    def _continues_above(self, _number: int) -> None:
        self.state.next_cell.continues_above = True

    def _fallback(self, number: int) -> None:
        self.state.fallback = max(0, number)

    def _code_page(self, number: int) -> None:
        if self.state.is_font_table:
            self.fonts.setdefault(self.state.font or 0, Font()).codec = codec_of_code_page(number)
        else:
            self.codec = codec_of_code_page(number)

    def _default_font(self, number: int) -> None:
        self.default_font = number

    def _choice(self, _number: int) -> None:
        self.state.is_choice = True


Handler = Callable[[RtfReader, int], None]


def _of(method: Callable[[RtfReader, str, int], None], name: str) -> Handler:
    return lambda reader, number: method(reader, name, number)


_WORDS: dict[str, Handler] = {
    "ansicpg": RtfReader._code_page,
    "cpg": RtfReader._code_page,
    "mac": lambda reader, _number: reader._code_page(10000),
    "pc": lambda reader, _number: reader._code_page(437),
    "pca": lambda reader, _number: reader._code_page(850),
    "deff": RtfReader._default_font,
    "f": RtfReader._set_font,
    "fcharset": RtfReader._set_charset,
    "s": RtfReader._set_style,
    "sbasedon": RtfReader._set_base,
    "outlinelevel": RtfReader._set_outline,
    "uc": RtfReader._fallback,
    "plain": RtfReader._plain,
    "up": _of(RtfReader._raise, "sup"),
    "dn": _of(RtfReader._raise, "sub"),
    "nosupersub": RtfReader._not_raised,
    "pard": RtfReader._begin_paragraph,
    **dict.fromkeys(("par", "sect"), RtfReader._end_paragraph),
    "intbl": RtfReader._in_table,
    "itap": RtfReader._table_level,
    "ls": RtfReader._in_list,
    "ilvl": RtfReader._list_level,
    "trowd": RtfReader._begin_plan,
    "trleft": RtfReader._plan_edge,
    "clmrg": RtfReader._continues_left,
    "clvmrg": RtfReader._continues_above,
    "cellx": RtfReader._plan_cell,
    "cell": RtfReader._end_cell,
    "nestcell": RtfReader._end_inner_cell,
    "row": RtfReader._end_row,
    "nestrow": RtfReader._end_inner_row,
    **{name: _of(RtfReader._time_part, name) for name in ("yr", "mo", "dy", "hr", "min", "sec")},
    "ffres": RtfReader.form_result,
    "ffdefres": RtfReader.form_default,
}
# What counts only at the beginning of a group, which it is the name of.
_GROUPS: dict[str, Handler] = {
    "fonttbl": RtfReader._font_table,
    "stylesheet": RtfReader._stylesheet,
    "upr": RtfReader._choice,
    **dict.fromkeys(("listtext", "pntext"), RtfReader._label),
    "nesttableprops": RtfReader._inner_row_plan,
    "footnote": RtfReader._note,
    **dict.fromkeys(("shptxt", "dptxbxtext"), RtfReader._box),
    **dict.fromkeys(("header", "headerl", "headerr", "headerf"), _of(RtfReader._page_part, "page header")),
    **dict.fromkeys(("footer", "footerl", "footerr", "footerf"), _of(RtfReader._page_part, "page footer")),
    "info": lambda reader, _number: setattr(reader.state, "sink", nowhere),
    "title": _of(RtfReader._property, "title"),
    "subject": _of(RtfReader._property, "subject"),
    "author": _of(RtfReader._property, "creator"),
    "keywords": _of(RtfReader._property, "keywords"),
    "doccomm": _of(RtfReader._property, "description"),
    "creatim": _of(RtfReader._time, "created"),
    "revtim": _of(RtfReader._time, "modified"),
    "field": RtfReader.field,
    "fldinst": RtfReader.field_instruction,
    "fldrslt": RtfReader.field_result,
    "ffl": RtfReader.form_line,
    **dict.fromkeys(("shp", "do"), RtfReader.drawing),
    "pict": RtfReader.picture,
    "sn": RtfReader.shape_name,
    "sv": RtfReader.shape_value,
    "object": RtfReader.object,
    "objclass": RtfReader.object_class,
    "objdata": RtfReader.object_data,
    "mmath": RtfReader.math,
}
