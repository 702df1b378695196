"""Hyphens at line ends: a word that was broken is joined, one that is written with a hyphen keeps it.

A PDF does not say which is which, and pdfium does not say which hyphens were soft ones. The document itself often
does, because it has the word elsewhere; capitals, digits and the parts of usual English compounds decide the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from embedder_assets.corpus.extract.pdf.line import HYPHEN_AT_LINE_END

_ENDS = (HYPHEN_AT_LINE_END, "-")
_WORD = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")
_BEFORE = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*$")
_AND = re.compile("and|or|to|und|oder|bis|et|ou|y|o|e|og|eller|och|en|of|in")
# Parts of English compounds in front of a word, and behind one: neither is a part of many longer words.
_FIRST = re.compile("well|self|non|quasi|cross|long|short|real|high|low|full|open|closed|two|three|third")
_SECOND = re.compile(
    "based|driven|oriented|specific|related|friendly|free|level|known|defined|aware|(in)?dependent|scale|sized|sided|"
    "only|quality|purpose|effective|efficient|ready|readable|writable|facing|intensive|up|off|by|of|on"
)
# These end a longer word: real-istic, short-ening.
_ENDING = re.compile("ing|ings|ness|less|ened|ening|est|istic(ally)?|ity|i[sz]e[ds]?|able|ments?|ward|light(s|ed)?")


def is_broken(line: str) -> bool:
    """Whether a line ends in a hyphen after a letter or digit, so that the next one may continue its word."""
    return line.endswith(_ENDS) and line[-2:-1].isalnum()


class Hyphens:
    """Decides for the hyphens of one document.

    Args:
        lines: All of its lines, in order.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._words: Counter[str] = Counter()
        inside = False
        for line in lines:
            words = [word.casefold() for word in _WORD.findall(line)]
            # Halves of a broken word are no words.
            self._words.update(words[1 if inside else 0 : len(words) - 1 if is_broken(line) else len(words)])
            inside = is_broken(line)

    def joint(self, line: str, following: str) -> str:
        """What stands between a line without its hyphen and the next: nothing, the hyphen, or hyphen and line end."""
        before, after = _BEFORE.search(line[:-1]), _WORD.match(following)
        if not before or not after:
            return "-\n"
        left, right = before[0], after[0]
        if _AND.fullmatch(right.casefold()) and self._words[f"{left}-{right}".casefold()] == 0:
            return "-\n" if "-" not in left else "-"
        return "-" if self._keeps(left, right) else ""

    def _keeps(self, left: str, right: str) -> bool:
        first = right.partition("-")[0]
        all_capitals = left.isupper() and right.isupper()
        capital = right[0].isupper() or (left.isupper() and len(left) > 1)
        if left[-1].isdigit() or right[0].isdigit() or (capital and not all_capitals):
            return True
        hyphenated, joined = (self._words[f"{left}{between}{right}".casefold()] for between in ("-", ""))
        if hyphenated != joined:
            return hyphenated > joined
        # A typesetter leaves no single letter behind.
        if "-" in left + right or min(len(left), len(first)) == 1:
            return not self._words[f"{left.rpartition('-')[2]}{first}".casefold()]
        left, first = left.casefold(), first.casefold()
        if _FIRST.fullmatch(left):
            return len(first) > 3 and not _ENDING.fullmatch(first)
        both = min(self._words[left], self._words[first])
        return len(left) > 3 and bool(_SECOND.fullmatch(first) or (len(first) > 3 and both))
