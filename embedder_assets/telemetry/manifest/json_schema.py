"""What the schema of the manifest says, published as JSON Schema, and which places of a document do not fit it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from embedder_assets.errors import TelemetryError
from embedder_assets.telemetry.manifest.schema import SCHEMA_VERSION, Manifest

MAX_PROBLEMS_PER_MESSAGE = 5
NOT_WRITTEN = "No manifest was written or overwritten. This is a defect: please report it with this message."
FOREIGN = "If a run wrote it, this is a defect: please report it with this message. Otherwise take another file."
SCHEMA_FILE = f"docs/telemetry/processing_summary.{SCHEMA_VERSION}.schema.json"


class _WithoutFieldTitles(GenerateJsonSchema):
    """A title that repeats the name of its field says nothing."""

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False


def json_schema() -> str:
    """The JSON Schema of a manifest, as it is published."""
    schema = Manifest.model_json_schema(schema_generator=_WithoutFieldTitles)
    title = f"processing_summary.json {SCHEMA_VERSION}"
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return json.dumps(head | schema | {"title": title}, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def validating(thing: str) -> Iterator[None]:
    """Turns a value that a run has for its manifest, and that does not fit the schema, into our own error.

    Raises:
        TelemetryError: Something inside did not fit.
    """
    try:
        yield
    except ValidationError as error:
        raise schema_error(thing, [_sentence(each, None) for each in error.errors()], remedy=NOT_WRITTEN) from error


def problems_of(document: Any) -> list[str]:
    """What does not fit in a parsed manifest, each with its JSON path; empty if all fits.

    Strict: a number in quotes is no number, as in the published schema.
    """
    try:
        Manifest.model_validate(document, strict=True)
    except ValidationError as error:
        return list(dict.fromkeys(_sentence(each, document) for each in error.errors()))
    return []


def schema_error(thing: str, problems: Sequence[str], *, remedy: str = FOREIGN) -> TelemetryError:
    """The error about a thing that has these problems."""
    more = len(problems) - MAX_PROBLEMS_PER_MESSAGE
    return TelemetryError(
        thing,
        expected=f"what {SCHEMA_FILE} describes",
        got="; ".join(problems[:MAX_PROBLEMS_PER_MESSAGE]) + (f"; and {more} more" if more > 0 else ""),
        remedy=remedy,
    )


def _sentence(error: ErrorDetails, document: Any) -> str:
    return f"{_json_path(error, document)}: {error['msg'].removeprefix('Value error, ')}"


def _json_path(error: ErrorDetails, document: Any) -> str:
    """Where in the document; pydantic adds the branch of a union, which is no place in it."""
    path, here, location = "$", document, error["loc"]
    for index, part in enumerate(location):
        last_missing = index == len(location) - 1 and error["type"] == "missing"
        inside = isinstance(part, int) if isinstance(here, list) else isinstance(here, dict) and part in here
        if document is not None and not inside and not last_missing:
            break
        simple = isinstance(part, str) and part.isidentifier()
        path += f".{part}" if simple else f"[{json.dumps(part)}]"
        here = here[part] if inside else None
    return path
