"""What pydantic finds, in the words of our own messages."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from embedder_assets.pydantic_errors import LONGEST_SHOWN, first_field_error


class Inner(BaseModel):
    number: int = Field(1, ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: Inner = Inner()
    kind: Literal["a", "b"] = "a"

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("A name of three letters at most")
        return name


@pytest.mark.parametrize(
    ("given", "field", "expected", "got"),
    [
        ({}, "name", "a value", "none"),
        ({"name": "long one"}, "name", "a name of three letters at most", "'long one'"),
        ({"name": "x", "inner": {"number": 0}}, "inner.number", "input should be greater than or equal to 1", "0"),
        ({"name": "x", "kind": "c"}, "kind", "input should be 'a' or 'b'", "'c'"),
        ({"nam": "x"}, "nam", "only fields that are known", "'nam' (1 more that does not fit)"),
        ({"inner": 1, "kind": 2}, "name", "a value", "none (2 more that do not fit)"),
        ([], "", "input should be a valid dictionary or instance of Outer", "[]"),
    ],
)
def test_the_first_misfit_names_field_expectation_and_value(given, field, expected, got):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    assert first_field_error(caught.value) == (field, expected, got)


def test_a_long_value_is_cut():
    with pytest.raises(ValidationError) as caught:
        Outer(name="x" * 10_000)
    assert len(first_field_error(caught.value).got) == LONGEST_SHOWN + 1
