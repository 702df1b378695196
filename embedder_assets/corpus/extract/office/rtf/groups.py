"""The groups of RTF, the characters of its text, and where each piece of text goes (specification 1.9.1)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

from embedder_assets.corpus.extract.limits import too_deep
from embedder_assets.corpus.extract.office.rtf.encoding import DEFAULT_CODEC, SYMBOLS, Font
from embedder_assets.corpus.extract.office.rtf.state import State
from embedder_assets.corpus.extract.office.rtf.words import CHARACTERS, SIGNS
from embedder_assets.corpus.extract.office.rtf.writer import RtfHtml
from embedder_assets.corpus.extract.office.word.symbols import symbol

_TOKEN = re.compile(
    rb"\\([a-zA-Z]+)(-?\d{1,10})?\d* ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}]+)|\\", re.DOTALL
)
_WORD, _NUMBER, _HEX, _SIGN, _BRACE, _TEXT = range(1, 7)
_NO_TEXT = b"\r\n\0"


class RtfGroups(ABC):
    """Goes through the groups of one document.

    Attributes:
        state: Of the group that is open.
        writer: Of the text that it belongs to.
        left_out: How many of which part are not in the text.
        fonts: By number, once their table is read.
        codec: Of the bytes of fonts that name none.
    """

    def __init__(self, thing: str, deepest: int) -> None:
        self.state = State(self.show)
        self.writer = RtfHtml()
        self.left_out: Counter[str] = Counter()
        self.fonts: dict[int, Font] = {}
        self.default_font = 0
        self.codec = DEFAULT_CODEC
        self._thing = thing
        self._deepest = deepest
        self._open: list[tuple[State, Callable[[], None] | None]] = []
        self._bytes = bytearray()  # of text that is not decoded yet
        self._high = ""  # the first half of a character, as UTF-16 has it
        self._to_skip = 0  # characters for readers without Unicode
        self._is_starred = False  # who does not know the next word is to skip its group
        self._is_first = False  # the next word is the first of its group
        self._last_hidden = ""

    @abstractmethod
    def obey(self, word: str, number: int | None, *, is_first: bool, is_starred: bool) -> None:
        """Does what a control word says; ``is_first`` in its group, ``is_starred`` as one that may be unknown."""

    def read(self, data: bytes) -> str:
        """The whole document as HTML."""
        at = 0
        while token := _TOKEN.match(data, at):
            at = token.end()
            kind = token.lastindex
            if kind == _TEXT:
                self._text(token[_TEXT].translate(None, _NO_TEXT))
            elif kind == _HEX:
                self._text(bytes.fromhex(token[_HEX].decode()))
            elif kind == _BRACE:
                self._open_group() if token[0] == b"{" else self._close_group()
            elif kind == _SIGN:
                self._sign(token[_SIGN].decode("latin-1"))
            elif token[_WORD] == b"bin":
                at += max(0, int(token[_NUMBER] or 0))
            elif kind is not None:
                self._word(token[_WORD].decode(), int(token[_NUMBER]) if token[_NUMBER] else None)
        while self._open:
            self._close_group()
        self._flush()
        return self.writer.html()

    def _open_group(self) -> None:
        self._flush()
        if len(self._open) >= self._deepest:
            raise too_deep(self._thing, self._deepest, "more groups in each other")
        outer = self.state
        self._open.append((outer, None))
        self.state = outer.copied()
        if outer.is_choice:
            self.state.sink = None
            self.state.is_choice = False
        self._to_skip, self._is_first, self._is_starred = 0, True, False

    def _close_group(self) -> None:
        self._flush()
        self._to_skip, self._is_first, self._is_starred = 0, False, False
        if not self._open:
            return  # a brace too many; what follows is read all the same
        self.state, then = self._open.pop()
        if then is not None:
            then()

    def at_end(self, then: Callable[[], None]) -> None:
        """Has something done when the group is closed."""
        self._open[-1] = (self._open[-1][0], then)

    def _text(self, text: bytes) -> None:
        if self._to_skip:
            text, self._to_skip = text[self._to_skip :], max(0, self._to_skip - len(text))
        if text and self.state.sink is not None:
            self._bytes += text
            self._is_first = False

    def _flush(self) -> None:
        if not self._bytes:
            return
        codec = self._font_codec()
        if codec == SYMBOLS:
            text = "".join(map(self.symbol, self._bytes))
        else:
            text = self._bytes.decode(codec, "replace")
            self.left_out["undecodable byte"] += text.count("\ufffd") if self.state.sink == self.show else 0
        self._bytes.clear()
        self.say(text)

    def _font_codec(self) -> str:
        if self.state.is_font_table:
            return self.codec  # of the names of fonts
        return self._font().codec or self.codec

    def _font(self) -> Font:
        return self.fonts.get(self.default_font if self.state.font is None else self.state.font, Font())

    def symbol(self, place: int) -> str:
        """The character at a place of the font, for which fonts of symbols have no codec."""
        if place <= ord(" "):
            return " "
        found = symbol(self._font().name.strip(" ;"), f"{place | 0xF000:x}")
        self.left_out["symbol"] += not found and self.state.sink == self.show
        return found

    def say(self, text: str) -> None:
        """Text of the group that is open."""
        if self._high or "\udc00" <= text[:1] <= "\udfff":
            text, self._high = self._high + text, ""
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self.state.sink is not None:
            self.state.sink(text)

    def show(self, text: str) -> None:
        """Text of the document."""
        state = self.state
        if state.hidden:
            self.left_out[state.hidden] += self._last_hidden != state.hidden and bool(text.strip())
            self._last_hidden = state.hidden
            return
        self._last_hidden = ""
        self.writer.add(text, state.marks, state.link)

    def _sign(self, sign: str) -> None:
        if sign == "*":
            self._is_starred = True
        elif sign in "\r\n":
            self._word("par", None)
        elif sign in SIGNS:
            self._flush()
            self._character(SIGNS[sign])

    def _word(self, word: str, number: int | None) -> None:
        self._flush()
        is_first, self._is_first = self._is_first, False
        is_starred, self._is_starred = self._is_starred, False
        state = self.state
        if state.sink is None:
            if word == "ud" and self._open[-1][0].is_choice:
                state.sink = self._open[-1][0].sink
        elif word in CHARACTERS:
            self._character(CHARACTERS[word])
        elif word == "u":
            self._unicode(number or 0)
        else:
            self._to_skip = 0
            self.obey(word, number, is_first=is_first, is_starred=is_starred)

    def _unicode(self, number: int) -> None:
        code = number + (0x10000 if number < 0 else 0)
        if 0xD800 <= code < 0xDC00:
            self._high = chr(code)
        elif 0xF000 <= code <= 0xF0FF:
            self.say(self.symbol(code & 0xFF))
        else:
            self.say(chr(code) if 0 < code <= 0x10FFFF else "\ufffd")
        self._to_skip = self.state.fallback

    def _character(self, text: str) -> None:
        if self._to_skip:
            self._to_skip -= 1
        else:
            self.say(text)

    def capture(self, then: Callable[[str], None]) -> None:
        """Has the text of the group go somewhere else than into the document."""
        texts: list[str] = []
        self.state.sink = texts.append
        self.at_end(lambda: then("".join(texts)))

    def flow(self, then: Callable[[str], None]) -> None:
        """Has the group be a text of its own: a note, a box, the head of a page."""
        outer, self.writer = self.writer, RtfHtml()

        def close() -> None:
            html, self.writer = self.writer.html(), outer
            then(html)

        self.state.begin_flow(self.show)
        self.at_end(close)
