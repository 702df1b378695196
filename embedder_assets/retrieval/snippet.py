"""The passage of a chunk that a search shows: whole sentences, from where the words of the query begin."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

SNIPPET_CHARACTERS = 400
# An answer follows what it answers, so words towards the end of a passage count less: what they lead to is left out.
_LATE, _LATE_WEIGHT = 0.6, 0.4
# A passage that is shorter than this share is filled up with a part of the next sentence.
_SHORT = 0.6
# "batch" is "batching", and "log" is "logs".
_STEM_LETTERS = 5
# Words of two letters say little, and so do these, by their stems.
_STOP_WORD_WEIGHT = 0.1
_STOP_WORDS = set(
    re.findall(
        r"\w+",
        "about all and any are been being but can could did doe for from get had ha have her him his how into it long "
        "make many may more most much must not often one our out over shoul than that the their them then there these "
        "they thi this those too two under wa what when where which while who why will with would you your",
    )
)
# A word that comes up repeatedly in a passage adds so much, up to this many times: there its matter is discussed.
_REPEAT_WEIGHT, _MAX_REPEATS = 0.15, 3
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d+[.)]\s))")
_SENTENCE_END = re.compile(r"""[.!?…]["')\]»”\u2019]*\s+(?![a-z])|[。\uff01\uff1f]""")


def snippet(text: str, query: str) -> str:
    """The passage of a text that says most about a query, on one line, with ``…`` where it is shortened."""
    flat, starts = _sentences(text)
    if len(flat) <= SNIPPET_CHARACTERS:
        return flat
    wanted = {stem for _, stem in _stems(query)}
    found = [(at, stem) for at, stem in _stems(flat) if stem in wanted]
    weights = {stem: _weight(stem) / count**0.5 for stem, count in Counter(stem for _, stem in found).items()}

    def score_at(start: int) -> tuple[float, bool, int]:
        end = _end(flat, starts, start)
        inside = [(at - start, stem) for at, stem in found if start <= at < end]
        first = {stem: at for at, stem in reversed(inside)}
        soon = SNIPPET_CHARACTERS if end == len(flat) else _LATE * SNIPPET_CHARACTERS
        score = sum(weights[stem] * (1.0 if at < soon else _LATE_WEIGHT) for stem, at in first.items())
        repeated = Counter(stem for at, stem in inside if at < soon)
        score += sum(weights[stem] * _REPEAT_WEIGHT * min(count - 1, _MAX_REPEATS) for stem, count in repeated.items())
        return round(score, 6), min(first.values(), default=len(flat)) < SNIPPET_CHARACTERS // 4, -start

    start = max(starts, key=score_at)
    end = _end(flat, starts, start)
    if end == len(flat):
        start = starts[min(bisect_right(starts, end - SNIPPET_CHARACTERS - 1), starts.index(start))]
    return f"{'…' if start else ''}{flat[start:end]}{'…' if end < len(flat) else ''}"


def query_words(text: str) -> list[str]:
    """The words of a text in lower case, for highlighting."""
    return [word.lower() for word in re.findall(r"\w{3,}", text)]


def _sentences(text: str) -> tuple[str, list[int]]:
    """The text on one line, and where a passage of it may begin, in ascending order."""
    blocks = list(filter(None, (" ".join(block.split()) for block in _BLOCK.split(text))))
    starts: list[int] = []
    at = 0
    for block in blocks:
        sentences = [0, *(end.end() for end in _SENTENCE_END.finditer(block) if end.end() < len(block))]
        for start, end in zip(sentences, [*sentences[1:], len(block)], strict=True):
            starts += (at + start + each for each in _inside(block[start:end]))
        at += len(block) + 1
    return " ".join(blocks), starts


def _inside(sentence: str) -> Iterator[int]:
    """Where a passage may begin in a sentence: where it begins, and at words of one that is too long for a passage."""
    yield 0
    if len(sentence) > SNIPPET_CHARACTERS:
        step = SNIPPET_CHARACTERS // 4
        for begin in range(step, len(sentence), step):
            space = sentence.find(" ", begin, begin + step)
            yield begin if space < 0 else space + 1


def _end(flat: str, starts: Sequence[int], start: int) -> int:
    """Where a passage ends: with a sentence, unless that leaves it too short."""
    limit = start + SNIPPET_CHARACTERS
    if limit >= len(flat):
        return len(flat)
    whole = starts[bisect_right(starts, limit) - 1]
    if whole - start >= _SHORT * SNIPPET_CHARACTERS:
        return whole
    space = flat.rfind(" ", start + 1, limit + 1)
    return limit if space < 0 else space


def _stems(text: str) -> Iterator[tuple[int, str]]:
    """Where each word begins, and what it shares with its other forms; pairs of letters of scripts without spaces."""
    for word in _WORD.finditer(text):
        shown = word[0].lower()
        if len(shown) == 1 or not "\u3040" <= shown[0] <= "\u9fff":
            singular = shown.removesuffix("s") if len(shown) > _STEM_LETTERS // 2 else shown
            yield word.start(), singular[:_STEM_LETTERS]
        else:
            yield from ((word.start() + at, shown[at : at + 2]) for at in range(len(shown) - 1))


def _weight(stem: str) -> float:
    return _STOP_WORD_WEIGHT if stem in _STOP_WORDS or (len(stem) <= 2 and stem.isascii()) else 1.0
