"""No word of a page is lost, whatever element holds it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.support.corpora.web import text

TAGS = re.findall(
    r"\w+",
    "a abbr address article b blockquote button caption center code dd del details div dl dt em fieldset figcaption "
    "figure font form h1 h2 h6 hgroup i kbd label legend li mark menu ol p pre q rt ruby s section small "
    "span strong sub summary sup table tbody td tfoot th thead tr u ul",
)
ATTRIBUTES = ["", " class=intro", " href=x", " aria-expanded=true", " id=a", " colspan=2", " rowspan=3"]
LEAVES = st.just("\0")


def element(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    many = st.lists(inside, max_size=4).map(" ".join)
    closing = st.sampled_from([True, True, True, False])
    return st.builds(_element, st.sampled_from(TAGS), st.sampled_from(ATTRIBUTES), many, closing)


def _element(tag: str, attributes: str, inner: str, is_closed: bool) -> str:
    # A button is text where it opens something.
    attributes = " aria-expanded=true" if tag == "button" else attributes
    return f"<{tag}{attributes}>{inner}" + (f"</{tag}>" if is_closed else "")


@given(st.lists(st.recursive(LEAVES, element, max_leaves=12), min_size=1, max_size=4).map(" ".join))
def test_no_word_is_lost(body):
    parts = body.split("\0")
    words = [f"word{number}x" for number in range(len(parts) - 1)]
    html = "".join(f"{part}{word}" for part, word in zip(parts, [*words, ""], strict=True))
    if words:
        found = text(f"<p>first</p>{html}")
        assert set(words) == set(re.findall(r"word\d+x", found)), html
