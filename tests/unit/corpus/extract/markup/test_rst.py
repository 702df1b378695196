"""Documents in reStructuredText."""

import itertools
import json
import random
import re
import textwrap

import pytest

from embedder_assets.corpus.extract.formats import extract
from tests.support.corpora.extraction import document


def test_restructuredtext_becomes_markdown(collection, capfd):
    source = """
Title
=====

Some *emphasis*, :ref:`a link <label>` and :class:`Foo`.

Sub
---

.. note:: Take care.

.. code-block:: python

   x = 1

.. py:function:: connect(host)
   :module: net

   Opens a connection.

.. include:: /etc/passwd
.. raw:: html

   <script>alert(1)</script>

Broken `link_ and |missing| substitution.

Bad
==
"""
    found = document(collection, "a.rst", source)
    assert found.title == "Title"
    assert "# Title\n" in found.text
    assert "## Sub\n" in found.text
    assert "a link and Foo." in found.text
    assert "Take care." in found.text
    assert "x = 1" in found.text
    assert "connect(host)" in found.text
    assert "Opens a connection." in found.text
    for unwanted in ("root:", "alert", "System Message", "WARNING", "Unknown", ":module:"):
        assert unwanted not in found.text
    assert capfd.readouterr() == ("", "")


def said(limits, source: str) -> str:
    """The text of a document, and what its omissions say; without the process that other tests read it in."""
    found = extract(".rst", source.encode(), "a.rst", limits)
    return "\n".join([found.text, *(f"{each.part} {each.count} {each.detail}" for each in found.omissions)])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (".. code-block:: python\n   :linenos:\n   :caption: The worker\n\n   start()", "worker start()"),
        (".. code-block:: python\n   :linenos:\n   start()", "start()"),
        (".. code-block:: python and more\n\n   start()", "start()"),
        (".. math::\n   :label: budget\n   :nowrap:\n\n   b = 1", "b = 1"),
        (".. note::\n   :title: Mind it\n\n   Never *both*.", "Mind Never both"),
        (".. warning:: At once\n   and :odd:`role words <t>`.", "once role words"),
        (".. admonition::\n\n   Untitled words.", "Untitled"),
        (".. image:: a.png\n   :alt: the pump room\n   :width: 50 px wide", "pump room"),
        (
            ".. figure:: a.png\n   :figwidth: wide\n   :target: big one\n\n   The caption.\n\n   The legend.",
            "caption legend",
        ),
        (".. list-table:: The title\n   :header-rows: one\n   :odd:\n\n   * - a1\n     - b1", "title a1 b1"),
        (".. list-table:: The title\n\n   * - a1\n     - b1\n   * - c1", "title a1 b1 c1"),
        (".. csv-table:: The title\n   :odd: 1\n   :header: H1, H2\n\n   x1, y1", "title H1 H2 x1 y1"),
        (".. table:: The title\n\n   no table here", "title table"),
        ("== ==\nA1 B1\n== ==\nfar too long words\n== ==", "A1 B1 far long"),
        ("+----+----+\n| a1 | b1|\n+----+----+", "a1 b1"),
        (
            ".. toctree::\n   :caption: All parts\n   :glob:\n\n   Setting up <install>\n   upgrade",
            "parts Setting upgrade",
        ),
        (".. tabs::\n\n   .. tab:: Linux\n\n      apt words", "Linux apt"),
        (".. tab-set::\n\n   .. tab-item:: One\n      :sync: a\n\n      Inner", "One Inner"),
        (".. grid-item-card:: Card *title*\n   :link: abc\n\n   Card words", "Card title words"),
        (".. only:: html\n\n   Shown.", "Shown."),
        (".. deprecated:: 3.1", "Deprecated since 3.1"),
        (".. versionadded:: 2.0\n   The *spam* words.", "New 2.0 spam"),
        (".. seealso::\n\n   The manual", "See also manual"),
        (".. glossary::\n\n   term one\n   term two\n      Its meaning.", "one two meaning"),
        (".. c:function:: int open(char *path, ...)\n   :noindex:\n\n   Opens it.", "open(char *path Opens"),
        (".. option:: --dry-run <n>, -d\n\n   Only shows.", "--dry-run shows"),
        (".. prompt:: bash $\n\n   ls -l *x", "ls *x"),
        (".. topic:: T\n   :odd: yes\n\n   Words", "T Words"),
        (".. header:: Head words\n\n.. footer:: Foot words", "Head Foot"),
        (".. raw:: html\n\n   <p>Raw <b>words</b></p>", "Raw words"),
        ("|missing| and `broken link_ and *open", "missing broken open"),
        ("Sub |x| here\n\n.. |x| odd:: of words", "here words"),
        ("- item\n\n  .. odd:: In a list\n\n     deep words", "list deep"),
        (".. odd::\n\n   Title\n   =====\n\n   below", "Title below"),
        (".. include:: other.rst", "included file 1 other.rst"),
        (".. literalinclude:: code.py\n   :lines: 1-3\n   :caption: The code", "included file code.py The code"),
        (".. csv-table:: Figures\n   :file: x.csv", "Figures included file x.csv"),
        (".. raw:: latex\n\n   \\x", "raw block 1 latex"),
        (".. note: a single colon", "comment 1 single colon"),
    ],
)
def test_nothing_is_lost_in_silence(limits, source, words):
    found = said(limits, f"Title\n=====\n\nBefore.\n\n{source}\n\nAfter.\n")
    assert [
        word for word in ["Title", "Before.", "After.", *words.split()] if word not in found.replace("*open", "open")
    ] == []
    for unwanted in ("System Message", "linenos", ":odd:", "50 px"):
        assert unwanted not in found


HEADS = [
    "note::", "note:: WORD WORD", "odd:: WORD", "code-block:: python", "math::", "admonition:: WORD", "tab:: WORD",
    "figure:: a.png", "image:: a.png", "topic:: WORD", "container:: odd", "deprecated:: 1.0 WORD", "table:: WORD",
    "list-table:: WORD", "csv-table:: WORD", "sidebar:: WORD", "epigraph::", "only:: html", "py:class:: WORD(x)",
]  # fmt: skip
OPTIONS = [
    ":linenos:",
    ":caption: WORD WORD",
    ":odd: 1",
    ":header-rows: x",
    ":class: a b",
    ":title: WORD",
    ":width: wide",
]
CONTENTS = [
    "WORD WORD.",
    "* - WORD\n  - WORD",
    "- WORD\n- WORD",
    "*WORD* :odd:`WORD`",
    "WORD\n  WORD\n",
    "| WORD",
    "WORD::\n\n  WORD",
]


@pytest.mark.parametrize("seed", range(200))
def test_every_word_of_nested_directives_is_kept(limits, seed):
    chance, count = random.Random(seed), itertools.count()

    def directive(level: int) -> str:
        body = [chance.choice(CONTENTS), *([directive(level - 1)] if level else []), chance.choice(CONTENTS)]
        options = chance.sample(OPTIONS, chance.randrange(3))
        inside = "\n".join(options) + "\n\n" + "\n\n".join(body)
        return f".. {chance.choice(HEADS)}\n{textwrap.indent(inside, '   ')}"

    source = re.sub("WORD", lambda _: f"word{next(count)}x", "\n\n".join(directive(level) for level in (0, 1, 2)))
    found = said(limits, source)
    assert [word for word in re.findall(r"word\d+x", source) if word not in found] == []


def test_fields_at_the_top_are_metadata(collection):
    head = ":Date: 2024-03-05\n:Language: de\n:keywords: oil, pump\n:orphan:\n"
    source = f".. meta::\n   :description: How to\n\n{head}\nPumps\n=====\n\nWords.\n"
    found = document(collection, "a.rst", source)
    assert (found.title, found.text) == ("Pumps", "# Pumps\n\nWords.\n")
    fields = {"date": "2024-03-05", "language": "de", "keywords": ["oil", "pump"], "description": "How to"}
    assert json.loads(found.source_metadata) == fields


def test_fields_below_the_title_are_metadata_too(collection):
    found = document(
        collection, "a.rst", "Pumps\n=====\n\n:Version: 3\n:Abstract: One.\n\n   Two.\n\nWords.\n\n:later: stays\n"
    )
    assert json.loads(found.source_metadata) == {"version": "3"}
    assert all(word in found.text for word in ("One.", "Two.", "Words.", "stays"))


def test_fields_of_nikola_and_a_stated_title(collection):
    found = document(collection, "a.rst", ".. title: Pump care\n.. slug: care\n\nWords.\n")
    assert (found.title, json.loads(found.source_metadata)) == ("Pump care", {"slug": "care"})
    assert document(collection, "a.rst", ".. title:: Pump care\n\nSteps\n=====\n\nWords.\n").title == "Pump care"
