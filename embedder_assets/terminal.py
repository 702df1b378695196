"""The one way to a person's terminal. What is said goes through ``plain``: nothing in it is obeyed, markup or other.

Results go to standard output, warnings and progress to standard error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from embedder_assets.sanitize import plain, plain_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# A file or a pipe has no width: nothing that a script reads is shortened.
_UNLIMITED = 160
_WIDTHS = (20, 1000)
_HEIGHT = 25


def say(*pieces: str | Text) -> None:
    """One line on standard output, from texts and from what ``styled`` and ``highlighted`` give."""
    from rich.text import Text

    console().print(Text.assemble(*(_text(piece) for piece in pieces)))


def say_lines(text: str) -> None:
    """The lines of a text of ours, whose parts from outside are on one line each, at once and without colours."""
    for line in text.split("\n"):
        print(plain(line), flush=True)


def say_json(text: str) -> None:
    """JSON for machines; a person's terminal does not obey what is in it."""
    print(plain_json(text, only_ascii=not _is_utf8(sys.stdout)), flush=True)


def say_table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; a cell that is too wide is folded, never shortened."""
    from rich.table import Column, Table

    table = Table(*(Column(_text(name), overflow="fold") for name in columns))
    for row in rows:
        table.add_row(*map(_text, row))
    console().print(table)


def warn(sentence: str) -> None:
    """A warning on standard error, away from what a script reads."""
    say_on_stderr(f"warning: {sentence}")


def say_on_stderr(sentence: str) -> None:
    """One line on standard error."""
    print(plain(sentence), file=sys.stderr, flush=True)


def styled(text: str, style: str) -> Text:
    """A piece of a line in a style of rich's."""
    from rich.text import Text

    return Text(plain(text), style)


def highlighted(text: str, words: Collection[str], style: str) -> Text:
    """A piece of a line, with some words of it (in lower case) in a style."""
    from rich.text import Text

    piece = Text(plain(text))
    for found in re.finditer(r"\w+", piece.plain):
        if found[0].lower() in words:
            piece.stylize(style, *found.span())
    return piece


@cache
def console(stream: TextIO | None = None) -> Console:
    """Rich's console on a stream, by default on standard output, whatever that is at the moment; with markup off."""
    from rich.console import Console

    width = _width(stream or sys.stdout)
    return Console(file=stream, width=width, height=_HEIGHT, markup=False, highlight=False, soft_wrap=True, emoji=False)


def _width(stream: TextIO | None) -> int:
    if stream is None or not stream.isatty():
        return _UNLIMITED
    # Unlike rich, this takes no number for one that it is not.
    return min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[1])


def prepare_streams() -> None:
    """Makes standard input, output and error usable whatever they are: closed, or of an encoding without our signs."""
    for descriptor, mode in enumerate("rww"):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free one is taken; nothing that is opened later may take its place.
            os.open(os.devnull, os.O_RDWR)
        name = ("stdin", "stdout", "stderr")[descriptor]
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for the whole process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _text(piece: str | Text) -> Text:
    from rich.text import Text

    return Text(plain(piece)) if isinstance(piece, str) else piece


def _is_utf8(stream: object) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf8sig")
