"""Documents in reStructuredText."""

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
