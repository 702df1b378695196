"""What the progress bars say."""

from __future__ import annotations

import io
import sys

from embedder_assets.cli import display


class Terminal(io.StringIO):
    """A terminal that keeps what is drawn."""

    def isatty(self) -> bool:
        return True


def test_bars_show_documents_and_pages(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with display.progress() as report:
        report("documents", "kb", 0, 0)
        report("documents", "kb", 2, 3)
        report("documents", "kb", 3, 3, 41)
    drawn = terminal.getvalue()
    assert "documents kb" in drawn
    assert "3/3" in drawn
    assert "41 pages" in drawn
