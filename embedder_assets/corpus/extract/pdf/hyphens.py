"""Hyphens at line ends: a word that was broken is joined, one that is written with a hyphen keeps it.

A PDF does not say which is which, apart from soft hyphens. The document itself often does, because it has the word
elsewhere; capitals, digits and the parts of usual English compounds decide the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from embedder_assets.corpus.extract.pdf.page_lines import HYPHEN_AT_LINE_END, SOFT_HYPHEN

_ENDS = (HYPHEN_AT_LINE_END, SOFT_HYPHEN, "-")
_WORD = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")
_BEFORE = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*$")
_AND = frozenset("and|or|to|und|oder|bis|et|ou|y|o|e|og|eller|och|en|of|in".split("|"))
# English compounds, by the part before or after their hyphen.
_FIRST = re.compile(
    "well|self|non|quasi|semi|all|ex|co|long|short|high|low|full|half|part|real|near|far|multi|cross|user|state|mid|end|"
    "open|closed|third|first|second|two|three|four|five|six|seven|eight|nine|ten|one|single|double|triple"
)
_SECOND = re.compile(
    "based|driven|oriented|specific|related|friendly|free|level|term|time|known|defined|aware|independent|dependent|"
    "party|scale|sized|sided|side|line|end|house|wide|only|like|type|quality|purpose|effective|efficient|ready|in|out|"
    "up|down|off|on|by|to|through|of|art|date|hand|readable|writable|facing|bound|intensive"
)
# After one of the first parts these end a longer word: high-er, real-ity, self-ish.
_ENDING = re.compile("(ish|ing|ity|ness|ly|less|ers?|est|e?d|es|is[mt]s?|i[sz]e[ds]?|able|ments?|ward)")


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
        if line.endswith(SOFT_HYPHEN):
            return ""
        before, after = _BEFORE.search(line[:-1]), _WORD.match(following)
        if not before or not after:
            return "-\n"
        left, right = before[0], after[0]
        if right.casefold() in _AND and self._words[f"{left}-{right}".casefold()] == 0:
            return "-\n" if "-" not in left else "-"
        return "-" if self._keeps(left, right) else ""

    def _keeps(self, left: str, right: str) -> bool:
        first = right.partition("-")[0]
        if any(map(str.isdigit, left[-1] + right[0])):
            return True
        shouted = left.isupper() and right.isupper() and len(left) > 1
        if not shouted and (right[0].isupper() or (left.isupper() and len(left) > 1)):
            return True
        hyphenated, joined = (self._words[f"{left}{between}{right}".casefold()] for between in ("-", ""))
        if hyphenated != joined:
            return hyphenated > joined
        # A typesetter leaves no single letter behind.
        if "-" in left or len(left) == 1 or len(first) == 1:
            return True
        left, first = left.casefold(), first.casefold()
        if _FIRST.fullmatch(left) or _SECOND.fullmatch(first):
            return not _ENDING.fullmatch(first)
        return len(left) > 3 and len(first) > 3 and min(self._words[left], self._words[first]) > 0
