"""What every extractor returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extracted:
    """The text of a file, and the title that the file itself states, if it states one."""

    text: str
    title: str = ""
