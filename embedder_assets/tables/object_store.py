"""Objects of a bucket that are no table: how they are reached, and the error when they are not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedder_assets.errors import StorageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

RETRIES, PROBE_RETRIES = 10, 1

# The libraries give a store's answer as text only: a chain of causes, and the XML of the store at the end.
# object_store marks the links of the chain so, in colour.
_LINK = re.compile(r"\x1b\[\d+m|↳")
_ANSWER = re.compile(r"<Code>(\w+)</Code>\s*(?:<Message>([^<]*)</Message>)?")
_STATUS = re.compile(r"\b([45]\d\d) [A-Z][A-Za-z ]*")
# Every failure of a request begins so.
_REQUEST = "Error performing"
# obstore adds what the error looks like in Rust.
_DEBUG = "\n\nDebug source:"
_UNANSWERED = "error sending request"
# What is about an object, and not about the store.
_OF_OBJECTS = {"NoSuchKey", "PreconditionFailed", "ConditionalRequestConflict"}
_CREDENTIALS = (
    "Correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or what they may do in the bucket; "
    "docs/how-to/object-storage.md says what is needed."
)


def open_bucket(url: str, retries: int | None = None) -> ObjectStore:
    """What lies below ``s3://bucket/prefix``. Endpoint and credentials come from AWS's own variables."""
    from obstore.store import from_url

    return from_url(
        url,
        client_options={"allow_http": plain_http()},
        retry_config={"max_retries": RETRIES if retries is None else retries},
    )


def plain_http() -> bool:
    """Whether the endpoint is one without TLS, which the libraries need to know."""
    return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")


def check_bucket_access(thing: str, url: str) -> None:
    """Returns where a bucket can be looked at, quickly.

    Raises:
        StorageError: It does not answer, does not give access, or is not there.
    """
    import obstore

    with translate_object_store_errors(f"{thing} at {url}"):
        next(iter(obstore.list(open_bucket(url, PROBE_RETRIES), chunk_size=1)), None)


@contextmanager
def translate_object_store_errors(thing: str) -> Iterator[None]:
    """While the context lasts, what goes wrong with a bucket raises a ``StorageError`` about a thing."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise object_store_error(thing, str(error)) or StorageError(
            thing,
            expected="files that can be read and written",
            got=str(error).splitlines()[0],
            remedy="docs/how-to/object-storage.md says what is needed.",
        ) from error


def object_store_error(thing: str, said: str) -> StorageError | None:
    """The error for what an object store has said; None where it is not the store that failed.

    Neither credentials nor signatures are in it, which some stores send back.

    Args:
        thing: What was asked for.
        said: The text of a library's error.
    """
    text = _LINK.sub("", said).partition(_DEBUG)[0].strip()
    answer = _ANSWER.search(text)
    if answer is not None:
        code, message = answer[1], (answer[2] or "").strip()
        if code in _OF_OBJECTS:
            return None
        return _error(thing, f"{code}: {message}" if message else code, _remedy(code, text))
    if _UNANSWERED in text:
        got = text.splitlines()[-1].rpartition(" - ")[2].strip()
        return _error(thing, got, "Check that the server at AWS_ENDPOINT_URL answers, then run again.")
    if _REQUEST in text:
        status = _STATUS.search(text)
        got = status[0] if status else text.splitlines()[-1].strip()
        return _error(thing, got, _remedy("", text))
    return None


def _remedy(code: str, text: str) -> str:
    if code == "NoSuchBucket":
        return "Make the bucket, or correct the setting that names it."
    status = _STATUS.search(text)
    if (status is not None and status[1] in ("401", "403")) or code in ("AccessDenied", "InvalidAccessKeyId"):
        return _CREDENTIALS
    return "Check the object store and AWS_ENDPOINT_URL, then run again: what was computed is kept."


def _error(thing: str, got: str, remedy: str) -> StorageError:
    return StorageError(
        thing, expected="an object store that answers and gives access", got=got.rstrip("."), remedy=remedy
    )
