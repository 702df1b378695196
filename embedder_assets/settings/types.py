"""Types of values that a setting may have, and what each of them refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from embedder_assets.sanitize import SecretUrl, secret_url


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except (RuntimeError, OSError) as error:
        # No HOME and no entry in the password file for `~`, or a working directory that is gone.
        raise ValueError(f"a path that leads somewhere ({error})") from None


def _plain(path: Path) -> Path:
    # Delta Lake and Dagster's SQLite take the folder for a URL, and polars takes '=' for a partition.
    if re.search(r"[\[\]%=?^|\\\x00-\x1f\x7f\ud800-\udfff]", str(path)):
        allowed = "a path in UTF-8 without '[', ']', '%', '=', '?', '^', '|', '\\' and control characters"
        raise ValueError(f"{allowed}, not {str(path)!r}")
    return path


def _listed(value: object) -> object:
    """The names of a text with commas, as a variable of the environment has them."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _stages(value: object) -> object:
    """The stages of a text with commas, or of the word for no stage: an empty variable counts as unset."""
    return () if isinstance(value, str) and value.strip() == "none" else _listed(value)


def _named(value: object) -> object:
    """The pairs ``name=url`` of a text with commas; a comma in an address begins no pair."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in re.split(r",(?=\s*[\w-]+=)", value)]
    if "" in (name for name, _, _ in pairs) or len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError("pairs `name=url` with different names, separated by commas")
    return {name: url for name, _, url in pairs}


def _distinct_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if "" in names or len(set(names)) < len(names):
        raise ValueError("different names, none of them empty")
    return names


FolderPath = Annotated[Path, AfterValidator(_absolute)]
FilePath = Annotated[Path, AfterValidator(_absolute)]
Device = Literal["cpu", "gpu"]
LeasePolicy = Literal["shared", "exclusive"]
Fusion = Literal["convex", "rrf"]
StatePath = Annotated[Path, AfterValidator(_absolute), AfterValidator(_plain)]
HostPort = Annotated[str, Field(pattern=r"^[^:/,\s]+:\d+$")]
HttpUrl = Annotated[SecretUrl, secret_url(r"https?://\S+")]
BucketUrl = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._-]+)*/?$")]
Endpoints = Annotated[tuple[HostPort, ...], BeforeValidator(_listed), AfterValidator(_distinct_names)]
Urls = Annotated[tuple[HttpUrl, ...], BeforeValidator(_listed), AfterValidator(_distinct_names)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_distinct_names), Field(min_length=1)]
FallbackStages = Annotated[
    tuple[Literal["sparse", "rerank"], ...], BeforeValidator(_stages), AfterValidator(_distinct_names)
]
Links = Annotated[dict[str, HttpUrl], BeforeValidator(_named)]
