"""What an extractor returns: the text of a file, what the file says of itself, and what of it is not in the text."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Value = str | int | float | bool | list[str]
"""Of a metadata field. A date or time is text in ISO 8601."""


@dataclass(frozen=True)
class Omission:
    """Something that a reader leaves out of a document whose rest is used.

    Attributes:
        part: What it is, in the singular and in the words of its format: ``comment``, ``equation``, ``attachment``,
            ``page without text``.
        count: How many of them.
        detail: Where or which, and what to do about it: a short sentence, or empty.
    """

    part: str
    count: int
    detail: str = ""


@dataclass(frozen=True)
class Attachment:
    """A file inside a file, which becomes a document of its own; ``name`` is its file name, with its suffix."""

    name: str
    data: bytes


def keyword_list(written: str, separators: str = ",") -> list[str]:
    """Keywords that are written in one text, between any of some characters."""
    return [word.strip() for word in re.split(f"[{separators}]", written) if word.strip()]


@dataclass(frozen=True)
class Extracted:
    """What was extracted from one file.

    Attributes:
        text: Markdown, or plain text.
        title: The one that the file itself states; empty if it states none.
        metadata: What else the file says of itself, by field: ``language``, ``created``, ``modified``, ``keywords``,
            the fields of its front matter. Never who wrote it, unless a person put that there for readers.
        omissions: What is not in the text, one for each kind of part.
        pages: Character offset of each page of the text, in order; empty for a format without pages.
        attachments: The files that it carries.
        plain: Whether the text is plain although documents of its format are Markdown.
    """

    text: str
    title: str = ""
    metadata: dict[str, Value] = field(default_factory=dict)
    omissions: tuple[Omission, ...] = ()
    pages: tuple[int, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    plain: bool = False

    def to_frames(self) -> list[bytes]:
        """This as JSON, as UTF-8 the text, and the bytes of each attachment: what one process sends to another."""
        frames = [self.text.encode(), *(each.data for each in self.attachments)]
        names = [each.name for each in self.attachments]
        values = asdict(replace(self, text="", attachments=())) | {
            "attachments": names,
            "sizes": list(map(len, frames)),
        }
        return [json.dumps(values).encode(), *frames]

    @classmethod
    def from_frames(cls, values: dict[str, Any], text: bytes, files: list[bytes]) -> Extracted:
        """The reverse: ``values`` is the JSON, ``files`` the bytes of the attachments."""
        return cls(
            text.decode(),
            values["title"],
            values["metadata"],
            tuple(Omission(**each) for each in values["omissions"]),
            tuple(values["pages"]),
            tuple(Attachment(name, data) for name, data in zip(values["attachments"], files, strict=True)),
            values["plain"],
        )
