"""Markdown with JSX."""

import pytest

from embedder_assets.corpus.extract.formats import extract
from tests.support.corpora.extraction import document


def test_imports_exports_and_comments_are_no_text(collection):
    source = """---
title: Pump care
---
import Tabs from '@theme/Tabs';
import {
  Card,

  Other
} from './cards'

export const meta = {
  hidden: 'words',
}

# Oil change {#oil}

{/* a comment
over lines */}

import the words as they are.
"""
    found = document(collection, "a.mdx", source)
    assert (found.title, found.media_type) == ("Pump care", "text/mdx")
    assert found.text.strip() == "# Oil change {#oil}\n\nimport the words as they are."
    assert [(each["part"], each["count"]) for each in found.omissions] == [("export", 1)]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<Tabs>\n<TabItem value='x' label='On Linux'>\n\nRun it.\n\n</TabItem>\n</Tabs>", "On Linux\n\nRun it."),
        ("A <B.C>bold</B.C> word", "A bold word"),
        ('<Card\n  title="Two words"\n  icon={<Icon name="x"/>}\n  on={() => 1 > 2}\n>\nIn\n</Card>', "Two words\nIn"),
        ('<Note title="Mind">inside</Note>', "Mind inside"),
        ("<>in a fragment</>", "in a fragment"),
        ("<img src={logo} alt='The pump'/> and <div className='x'>more</div>", "The pump and more"),
        ("Price {'10 EUR'} of {props.name}", "Price 10 EUR of {props.name}"),
        ("3 < 4 and a > b <3", "3 < 4 and a > b <3"),
        ("Use `<Tabs>` and ``{/* x */}``", "Use `<Tabs>` and ``{/* x */}``"),
        (
            "```jsx\nimport X from 'y'\n\n<Tabs>{/* c */}</Tabs>\n```",
            "```jsx\nimport X from 'y'\n\n<Tabs>{/* c */}</Tabs>\n```",
        ),
        ("Not closed <Tabs title='x", "Not closed <Tabs title='x"),
    ],
)
def test_what_is_in_components_is_text(limits, source, text):
    found = extract(".mdx", f"Before.\n\n{source}\n\nAfter.\n".encode(), "a.mdx", limits).text
    assert found.removeprefix("Before.\n\n").removesuffix("\n\nAfter.\n").strip() == text
