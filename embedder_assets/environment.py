"""Variables of the environment that are no settings: Dagster's home, typing mistakes, names of another version."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from embedder_assets.settings import ENV_PREFIX, FIELDS, REMOVED, RENAMED, Settings, variable_of


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's instance."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster").absolute()


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """``EMBEDDER_…`` variables that no setting has, each with what to do: what stands in its place, or the nearest."""
    # Compared without the prefix, which would make any two names alike.
    known = {name.upper(): variable_of(name) for name in FIELDS}
    begun = {name: name.upper().removeprefix(ENV_PREFIX) for name in environ if name.upper().startswith(ENV_PREFIX)}
    return {name: _remedy(rest, known) for name, rest in begun.items() if name not in known.values()}


def _remedy(name: str, known: Mapping[str, str]) -> str:
    """What to do about an unknown name without its prefix; ``known`` has the variables by theirs."""
    if name.lower() in RENAMED:
        return f"{variable_of(RENAMED[name.lower()])} stands in its place"
    if name.lower() in REMOVED:
        return f"it was removed: {REMOVED[name.lower()]}"
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {known[nearest[0]]}?" if nearest else "docs/settings.md lists every setting"


def variable_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each of them; the value is not in it."""
    for name, remedy in unknown_variables(environ).items():
        if name.upper().removeprefix(ENV_PREFIX).lower() in RENAMED:
            continue  # refused where the settings are loaded
        yield f"the variable {name} is no setting and changes nothing; {remedy}"
