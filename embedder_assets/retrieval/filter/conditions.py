"""The conditions of a filter, and which chunks meet them, in the three-valued logic of SQL.

A comparison with a field that a document lacks is neither true nor false, and so is its negation: the chunk is kept by
neither. ``is null`` asks for the lack itself.
"""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from embedder_assets.corpus.metadata.values import FieldType
from embedder_assets.errors import FilterError
from embedder_assets.retrieval.filter.fields import Column, Moment, element, moment

_COMPARISONS: dict[str, Callable[..., pl.Series]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITIES = ("=", "!=")


@dataclass(frozen=True)
class Place:
    """A place in a filter.

    Attributes:
        expression: All of it.
        at: Characters before the place.
    """

    expression: str
    at: int

    def error(self, *, expected: str, got: str, remedy: str) -> FilterError:
        """An error that points here."""
        return FilterError("the filter", expected=expected, got=got, remedy=remedy, pointer=self._pointer())

    def _pointer(self) -> str:
        """The expression, or the part of it around the place, and below it a caret."""
        from rich.cells import cell_len

        from embedder_assets.sanitize import plain

        start, end = max(0, self.at - _SHOWN), self.at + _SHOWN
        before = ("…" if start else "") + plain(self.expression[start : self.at])
        behind = plain(self.expression[self.at : end]) + ("…" if end < len(self.expression) else "")
        return f"  {before}{behind}\n  {' ' * cell_len(before)}^"


# Characters of an expression that an error shows on each side of the place.
_SHOWN = 50


@dataclass(frozen=True)
class Name:
    """A field, as the filter names it."""

    text: str
    place: Place


@dataclass(frozen=True)
class Value:
    """What a field is compared with.

    Attributes:
        kind: Text, number, time or boolean.
        value: Of that type.
        text: As it was written, without quotes.
    """

    kind: FieldType
    value: str | float | bool | Moment
    text: str
    place: Place


class Columns(Protocol):
    """The fields of a collection."""

    @property
    def collection(self) -> str:
        """Its name."""

    def column(self, name: Name) -> Column:
        """A field with a row per chunk.

        Raises:
            FilterError: No collection that is searched has it.
        """


class Condition(Protocol):
    """What a chunk may meet."""

    @property
    def depth(self) -> int:
        """How deep conditions are nested in it, from 1."""

    def evaluate(self, columns: Columns) -> pl.Series:
        """True, false or null of each chunk.

        Raises:
            FilterError: A field is not there, or cannot be compared in this way.
        """


@dataclass(frozen=True)
class _OfField(ABC):
    """A condition on the value of one field."""

    name: Name
    depth = 1

    def evaluate(self, columns: Columns) -> pl.Series:
        """As ``Condition``; null of each chunk where no document has the field."""
        column = columns.column(self.name)
        return column.values if column.type is None else self._meets(column, column.type, columns)

    @abstractmethod
    def _meets(self, column: Column, kind: FieldType, columns: Columns) -> pl.Series:
        """Which values of a column of a type meet the condition."""


@dataclass(frozen=True)
class Comparison(_OfField):
    """A field compared with a value: = != < <= > >=."""

    symbol: str
    value: Value

    def _meets(self, column: Column, kind: FieldType, columns: Columns) -> pl.Series:
        if kind == "list":
            raise _misfit(self.name, kind, columns, "contains", f"Write {self.name.text} contains …")
        if kind == "boolean" and self.symbol not in _EQUALITIES:
            raise _misfit(self.name, kind, columns, "= or !=", "Compare it with true or false.")
        return _compare(column, self.symbol, _fitting(self.value, self.name, kind, columns))


@dataclass(frozen=True)
class Membership(_OfField):
    """A field that has one of some values."""

    values: Sequence[Value]

    def _meets(self, column: Column, kind: FieldType, columns: Columns) -> pl.Series:
        if kind == "list":
            raise _misfit(self.name, kind, columns, "contains", f"Write {self.name.text} contains … or …")
        fitting = [_fitting(each, self.name, kind, columns) for each in self.values]
        if kind == "time":
            return functools.reduce(operator.or_, (_compare(column, "=", each) for each in fitting))
        return column.values.is_in(pl.Series(fitting, dtype=column.values.dtype).implode())


@dataclass(frozen=True)
class Containment(_OfField):
    """A list that holds a value, or a text that holds another one."""

    value: Value

    def _meets(self, column: Column, kind: FieldType, columns: Columns) -> pl.Series:
        if kind == "list":
            # A list may have been made a list of texts: a number is found as one, too.
            written = column.values.list.contains(element(self.value.text))
            typed = self.value.kind in ("number", "boolean")
            return written | column.values.list.contains(element(self.value.value)) if typed else written
        if kind != "text":
            raise _misfit(self.name, kind, columns, "a comparison", "Only lists and texts contain something.")
        return column.values.str.contains(str(_fitting(self.value, self.name, "text", columns)), literal=True)


@dataclass(frozen=True)
class Absence:
    """A field that a document lacks."""

    name: Name
    depth = 1

    def evaluate(self, columns: Columns) -> pl.Series:
        """As ``Condition``."""
        return ~columns.column(self.name).present


@dataclass(frozen=True)
class Negation:
    """What is true where another condition is false."""

    condition: Condition

    @property
    def depth(self) -> int:
        """As ``Condition``."""
        return 1 + self.condition.depth

    def evaluate(self, columns: Columns) -> pl.Series:
        """As ``Condition``."""
        return ~self.condition.evaluate(columns)


@dataclass(frozen=True)
class Combination:
    """Several conditions joined by ``and`` or by ``or``."""

    conditions: Sequence[Condition]
    join: Callable[[pl.Series, pl.Series], pl.Series]

    @functools.cached_property
    def depth(self) -> int:
        """As ``Condition``."""
        return 1 + max(each.depth for each in self.conditions)

    def evaluate(self, columns: Columns) -> pl.Series:
        """As ``Condition``."""
        return functools.reduce(self.join, (each.evaluate(columns) for each in self.conditions))


def _compare(column: Column, symbol: str, value: object) -> pl.Series:
    compare = _COMPARISONS[symbol]
    if not isinstance(value, Moment):
        return compare(column.values, value)
    days = compare(column.values.dt.date(), value.instant.date())
    # Where one side is a whole day, days are compared.
    return days if value.is_day else days.zip_with(column.is_day, compare(column.values, value.instant))


def _fitting(value: Value, name: Name, kind: FieldType, columns: Columns) -> object:
    """The value as a column of a type is compared with it.

    Raises:
        FilterError: It is of another type.
    """
    found = moment(value.text) if kind == "time" and value.kind == "text" else None
    if found is not None or value.kind == kind:
        return value.value if found is None else found
    raise value.place.error(
        expected=f"{_EXPECTED[kind]}: '{name.text}' is a field of type {kind} in collection '{columns.collection}'",
        got=f"the {value.kind} {value.text}" if value.kind != "text" else f"the text '{value.text}'",
        remedy=f"{'Write it in quotes' if kind == 'text' else 'Write such a value'}, or search other collections only.",
    )


_EXPECTED: dict[FieldType, str] = {
    "text": "a text",
    "number": "a number without quotes",
    "time": "a time such as 2020-01-31 or 2020-01-31T12:00:00Z",
    "boolean": "true or false",
    "list": "a value",
}


def _misfit(name: Name, kind: FieldType, columns: Columns, expected: str, remedy: str) -> FilterError:
    return name.place.error(
        expected=expected,
        got=f"another comparison with '{name.text}', a field of type {kind} in collection '{columns.collection}'",
        remedy=remedy,
    )
