"""The block above a Markdown document."""

import json
import time
from itertools import pairwise

import pytest

from embedder_assets.corpus.extract.markup.front_matter import read_front_matter
from tests.support.corpora.extraction import document, issue

BELOW = "\n## First steps\n\nWords.\n"


def omissions(found) -> list[tuple[str, int]]:
    return [(each["part"], each["count"]) for each in found.omissions]


@pytest.mark.parametrize(
    "block",
    [
        "---\ntitle: Pump care\n---\n",
        "---\ntitle: 'Pump care'\nlayout: post\n---\n",
        "---\n# of the manual\ntitle: >\n  Pump\n  care\n---\n",
        "---\r\ntitle: Pump care\r\n...\r\n",
        "\n---yaml\nTitle: Pump care\n---\n",
        "+++\ntitle = 'Pump care'\n[params]\nx = 1\n+++\n",
        '{\n  "title": "Pump care"\n}\n',
        "% Pump\n  care\n% Jo\n",
        "Title: Pump care\nDate: 2020-01-01\n",
    ],
)
def test_title_is_the_one_stated_first(collection, block):
    found = document(collection, "a.md", block + BELOW)
    assert found.title == "Pump care"
    assert found.text.strip() == BELOW.strip()
    assert found.omissions == []


@pytest.mark.parametrize("block", ["---\nlayout: page\n---\n", "---\n---\n", "---\n# nothing\n---\n", ""])
def test_first_heading_where_no_title_is_stated(collection, block):
    assert document(collection, "a.md", block + BELOW).title == "First steps"


def test_fields_are_typed_by_yaml_1_2(collection):
    block = """---
draft: no
shown: true
year: 2024
ratio: 2.5
version: 1.10
part: 0815
at: 12:30
date: 2024-03-05
changed: 2024-03-05 10:00:00 +02:00
never: 2024-02-30
tags: [pump, 3]
keywords: oil, filter
author: Jo
params: {unit: bar, deep: {er: x}}
empty:
---
"""
    assert json.loads(document(collection, "a.md", block + BELOW).source_metadata) == {
        "draft": "no",
        "shown": True,
        "year": 2024,
        "ratio": 2.5,
        "version": "1.10",
        "part": "0815",
        "at": "12:30",
        "date": "2024-03-05",
        "changed": "2024-03-05T10:00:00+02:00",
        "never": "2024-02-30",
        "tags": ["pump", "3"],
        "keywords": ["oil", "filter"],
        "params.unit": "bar",
        "params.deep.er": "x",
    }


def test_toml_dates_are_text(collection):
    block = "+++\nday = 2024-03-05\nat = 2024-03-05T10:00:00Z\n+++\n"
    fields = json.loads(document(collection, "a.md", block + BELOW).source_metadata)
    assert fields == {"day": "2024-03-05", "at": "2024-03-05T10:00:00+00:00"}


def test_a_value_that_is_no_field_is_named(collection):
    found = document(collection, "a.md", "---\nmenu: [{a: 1}]\nx: !!python/object:os.system y\nz: 1\n---\n" + BELOW)
    assert json.loads(found.source_metadata) == {"x": "y", "z": 1}
    assert omissions(found) == [("metadata field", 1)]
    assert "menu" in found.omissions[0]["detail"]


@pytest.mark.parametrize(
    "block",
    [
        "---\ntitle: Pump: care\nlayout: page\n---\n",
        "---\ntitle: Pump: care\nlayout: page\n",
        "---\ntitle: 'Pump: care'\n\tlayout: page\n---\n",
        "+++\ntitle = Pump: care\nlayout = page\n+++\n",
        '{\n"title": "Pump: care",\n"layout": "page",\n}\n',
    ],
)
def test_a_broken_block_stays_and_is_named(collection, block):
    found = document(collection, "a.md", block + BELOW)
    assert omissions(found) == [("front matter", 1)]
    assert "Pump: care" in found.text
    assert "layout" in found.text
    assert found.title == "Pump: care"


@pytest.mark.parametrize(
    "text", ["---\nWords\n---\nmore", "---\n- a\n- b\n---\nc", '{"a": 1}', "Title of it: x\n\ny", "{{< x >}}"]
)
def test_what_is_no_front_matter_stays(text):
    found = read_front_matter(text)
    assert (found.text, found.title, found.fields, found.omissions) == (text, "", {}, ())


def test_nothing_but_front_matter_is_empty(collection):
    found = issue(collection, "a.md", "---\ntitle: x\n---\n")
    assert (found.kind, "nothing but front matter" in found.message) == ("empty", True)


HOSTILE = {
    "deep": f"---\na: {'[' * 30_000}{']' * 30_000}\n---\nx",
    "deep block": f"---\na:\n {'- ' * 30_000}\n---\nx",
    "aliases": "---\na: &a {x: l, y: l}\n"
    + "".join(f"{new}: &{new} {{p: *{old}, q: *{old}, r: *{old}}}\n" for old, new in pairwise("abcdefghijklmnop"))
    + "---\nx",
    "long aliases": f"---\na: &a {'v' * 60_000}\n" + "".join(f"k{n}: *a\n" for n in range(400)) + "---\nx",
    "circle": "---\na: &a {b: *a}\n---\nx",
    "merge": "---\na: &a {x: 1}\nb: {<<: [" + "*a, " * 5000 + "]}\n---\nx",
    "toml": f"+++\na = {'[' * 30_000}\n+++\nx",
    "json": f'{{"a": {"[" * 30_000}\n}}\nx',
    "digits": f"---\na: {'9' * 60_000}\n---\nx",
    "endless": "---\n" + "a: b\n" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_blocks_cost_little(name):
    started = time.perf_counter()
    found = read_front_matter(HOSTILE[name])
    assert time.perf_counter() - started < 3
    assert len(str(found.fields)) < 200_000
    assert "x" in found.text or name == "endless"


@pytest.mark.parametrize("block", ["acl:\n", "acl: ~\nproduct: pump\n", "acl: [a]\nACL: [b]\n", "acl:\n- [a]\n"])
def test_permissions_that_say_nothing_are_named(block):
    found = read_front_matter(f"---\n{block}---\nWords.\n")
    assert "acl" not in found.fields
    assert [(each.part, "acl" in each.detail) for each in found.omissions] == [("metadata field", True)]
