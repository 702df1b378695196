"""What pydantic finds in a file or in options, as the parts of one of our own messages."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

LONGEST_SHOWN = 200


class FieldError(NamedTuple):
    """The first field that does not fit a schema, in words.

    Attributes:
        field: Its path, such as ``source.sha256``; empty where the whole does not fit.
        expected: What the schema allows there.
        got: What is there, and how many other fields do not fit either.
    """

    field: str
    expected: str
    got: str


def first_field_error(error: ValidationError) -> FieldError:
    """The first thing that a validation found; a field that nobody knows before one that is missing: it is misspelt."""
    found = error.errors()
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    field = ".".join(map(str, first["loc"]))
    # Not all of it in small letters: a pattern says which letters may be large.
    said = first["msg"].removeprefix("Value error, ")
    expected, got = f"{said[:1].lower()}{said[1:]}", repr(first["input"])
    if first["type"] == "missing":
        expected, got = "a value", "none"
    elif first["type"] == "extra_forbidden":
        expected, got = "only fields that are known", f"'{field}'"
    elif isinstance(first["input"], dict):
        got = ", ".join(map(str, first["input"])) or "nothing"
    if len(got) > LONGEST_SHOWN:
        got = f"{got[:LONGEST_SHOWN]}…"
    more = len(found) - 1
    return FieldError(
        field, expected, got + (f" ({more} more that {'does' if more == 1 else 'do'} not fit)" if more else "")
    )
