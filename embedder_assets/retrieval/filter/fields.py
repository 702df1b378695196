"""Typed values of the fields that documents are filtered by, as columns with a row per chunk or document."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from embedder_assets.corpus.metadata.values import FIELD_TYPES, FieldType, is_time
from embedder_assets.corpus.metadata.values import type_of as type_of_field

_DATE_LENGTH = len("2020-01-31")
_SERIES: dict[FieldType, pl.DataType] = {
    "text": pl.String(),
    "number": pl.Float64(),
    "time": pl.Datetime("us"),
    "boolean": pl.Boolean(),
    "list": pl.List(pl.String()),
}


@dataclass(frozen=True)
class Moment:
    """A time, in UTC without saying so; one without an offset counts as UTC.

    Attributes:
        instant: The first one of a day that is given without a time.
        is_day: Whether it is a whole day.
    """

    instant: datetime
    is_day: bool


@dataclass(frozen=True)
class Column:
    """A field of all chunks of a collection.

    Attributes:
        type: None where no document has the field.
        values: Text, float64, boolean, instants in UTC, or lists of ``element``; null where a document lacks the field,
            and where its value is of another type.
        present: Whether there is a value, of whatever type.
        is_day: Of a time: whether it is a whole day.
    """

    type: FieldType | None
    values: pl.Series
    present: pl.Series
    is_day: pl.Series

    @classmethod
    def of(cls, values: Sequence[object], kind: FieldType | None) -> Column:
        """A column of values as JSON has them."""
        present = pl.Series([value is not None for value in values], dtype=pl.Boolean)
        if kind is None:
            nothing = pl.Series([None] * len(values), dtype=pl.Boolean)
            return cls(None, nothing, present, nothing)
        typed = [_typed(value, kind) for value in values]
        days = [isinstance(value, Moment) and value.is_day for value in typed]
        plain = [value.instant if isinstance(value, Moment) else value for value in typed]
        return cls(kind, pl.Series(plain, dtype=_SERIES[kind]), present, pl.Series(days, dtype=pl.Boolean))

    def gather(self, rows: pl.Series) -> Column:
        """The same of other rows; nothing for a row that is null."""
        values, present, days = (each.gather(rows) for each in (self.values, self.present, self.is_day))
        return Column(self.type, values, present.fill_null(value=False), days.fill_null(value=False))


@functools.lru_cache(maxsize=10_000)
def moment(text: str) -> Moment | None:
    """A time as ISO 8601 has it, a date at least; None for any other text."""
    if not is_time(text):
        return None
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            instant = instant.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return Moment(instant, len(text) == _DATE_LENGTH)


def type_of(value: object) -> FieldType | None:
    """The type of a value of a document's metadata; None for one that cannot be compared."""
    if not isinstance(value, bool | int | float | str | list):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _float(value)
        return None if number is None or not math.isfinite(number) else "number"
    return type_of_field(value)


def common_type(values: Iterable[object]) -> FieldType | None:
    """The type that most values of a field have; of types that equally many have, the first of ``FIELD_TYPES``."""
    counts = Counter(kind for kind in map(type_of, values) if kind)
    return min(counts, key=lambda kind: (-counts[kind], FIELD_TYPES.index(kind)), default=None)


def element(value: object) -> str:
    """An element of a list as a text that only equal ones have: 5 is 5.0, 1 is not true, a list in it is nothing."""
    if isinstance(value, str):
        return f'"{_whole(value)}'
    if isinstance(value, list | dict):
        return ""
    return str(_float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _typed(value: object, kind: FieldType) -> object:
    """The value as the column has it; None where it is of another type."""
    if kind == "time":
        return moment(value) if isinstance(value, str) else None
    if kind == "text":
        return _whole(value) if isinstance(value, str) else None
    if type_of(value) != kind:
        return None
    if isinstance(value, list):
        return [element(each) for each in value]
    return _float(value) if kind == "number" else value


def _float(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None


def _whole(text: str) -> str:
    """A text that UTF-8 can hold: JSON can have half of a character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
