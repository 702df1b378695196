"""Variables of the environment that are no settings: Dagster's home, typing mistakes, names of another version."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from embedder_assets.settings import ENV_PREFIX, FIELDS, RENAMED, Settings, variable_of


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's instance."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster").absolute()


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """``EMBEDDER_…`` variables that no setting has, each with the nearest real name (or None)."""
    # Compared without the prefix, which would make any two names alike.
    known = {name.upper(): variable_of(name) for name in FIELDS}
    begun = {name: name.upper().removeprefix(ENV_PREFIX) for name in environ if name.upper().startswith(ENV_PREFIX)}
    unknown = {name: rest for name, rest in begun.items() if name not in known.values()}
    nearest = {name: difflib.get_close_matches(rest, known, n=1) for name, rest in unknown.items()}
    return {name: known[matches[0]] if matches else None for name, matches in nearest.items()}


def variable_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each of them; the value is not in it."""
    for name, nearest in unknown_variables(environ).items():
        if name.upper().removeprefix(ENV_PREFIX).lower() in RENAMED:
            continue  # refused where the settings are loaded
        remedy = f"did you mean {nearest}?" if nearest else "docs/settings.md lists every setting"
        yield f"the variable {name} is no setting and changes nothing; {remedy}"
