"""Objects of a bucket that are no table: how they are reached, and what is told when they are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedder_assets.errors import StorageError
from embedder_assets.tables.refusals import refusal

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PATIENT, _IMPATIENT = 10, 1


def open_objects(url: str, retries: int = _PATIENT) -> ObjectStore:
    """What lies below ``s3://bucket/prefix``. Endpoint and credentials come from AWS's own variables."""
    from obstore.store import from_url

    return from_url(url, client_options={"allow_http": plain_http()}, retry_config={"max_retries": retries})


def plain_http() -> bool:
    """Whether the endpoint is one without TLS, which the libraries have to be told."""
    return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")


def reach_objects(thing: str, url: str) -> None:
    """Returns where a bucket can be looked at, quickly.

    Raises:
        StorageError: It does not answer, does not let us in, or is not there.
    """
    import obstore

    with translate_object_store_errors(f"{thing} at {url}"):
        next(iter(obstore.list(open_objects(url, _IMPATIENT), chunk_size=1)), None)


@contextmanager
def translate_object_store_errors(thing: str) -> Iterator[None]:
    """While the context lasts, what goes wrong with a bucket raises a ``StorageError`` about a thing."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise refusal(thing, str(error)) or StorageError(
            thing,
            expected="files that can be read and written",
            got=str(error).splitlines()[0],
            remedy="docs/how-to/object-storage.md says what is needed.",
        ) from error
