"""Resolves the settings from all layers.

Precedence, lowest first: default, ``embedder.toml`` in the working directory, the environment (prefix
``EMBEDDER_``), the command line or the run config. Each resolved value keeps its provenance in words, so that
a manifest can say why a stage was off.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedder_assets.errors import SettingsError
from embedder_assets.permissions import owned_by_another_user
from embedder_assets.pydantic_errors import first_field_error
from embedder_assets.sanitize import HIDDEN
from embedder_assets.settings.groups import FIELDS, GROUP_OF, GROUPS, Settings, key_of, variable_of
from embedder_assets.settings.retired import NEW_VALUES, REMOVED, RENAMED, as_sentence

SETTINGS_FILE = "embedder.toml"
# Those that everybody meets may stand in embedder.toml outside their groups too, by their whole names.
_WITHOUT_GROUP = frozenset(
    {
        "home",
        "corpus_dir",
        "triton_url",
        "enable_sparse",
        "enable_rerank",
        "gpu_soft_limit_gb",
        "metrics_enabled",
        "metrics_port",
    }
)


def load_settings(
    overrides: Mapping[str, tuple[Any, str]] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Resolves every setting from all layers.

    Args:
        overrides: Setting name to (value, provenance) from the command line or the run config.
        environ: The environment; the process's own by default.
        directory: Where ``embedder.toml`` is looked for; the working directory by default.

    Raises:
        SettingsError: A layer names an unknown setting or gives a value that is not allowed.
    """
    environ = os.environ if environ is None else environ
    layers = [
        _file_layer((directory or Path.cwd()) / SETTINGS_FILE),
        _environment_layer(environ),
        dict(overrides or {}),
    ]
    merged: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        merged.update(layer)
    try:
        settings = Settings(**{name: value for name, (value, _) in merged.items()})
    except ValidationError as error:
        # Without its cause, which would quote the value into every log.
        raise _rejected(error, merged) from None
    if settings.corpus_url is not None:
        settings = settings.model_copy(update={"corpus_dir": _synced_folder(settings.home, merged)})
        merged["corpus_dir"] = merged["corpus_url"]
    settings._provenance.update({name: provenance for name, (_, provenance) in merged.items()})
    return settings


def settings_at_load() -> Settings:
    """The settings; the defaults where they cannot be read: the code location has to load, and a run will say so."""
    try:
        return load_settings()
    except SettingsError:
        return load_settings(environ={})


def _synced_folder(home: Path, merged: Mapping[str, tuple[Any, str]]) -> Path:
    """The folder that a corpus of a bucket is fetched into: one of ours, since what is not in the bucket goes."""
    if "corpus_dir" in merged:
        value, provenance = merged["corpus_dir"]
        raise SettingsError(
            f"settings 'corpus_dir' ({provenance}) and 'corpus_url' ({merged['corpus_url'][1]})",
            expected="one of them",
            got=f"both, {str(value)!r} and {merged['corpus_url'][0]!r}",
            remedy="Unset the one that does not hold the documents.",
        )
    return home / "corpus"


def _environment_layer(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    for old, new in RENAMED.items():
        if environ.get(variable_of(old), "") != "":
            raise SettingsError(
                f"environment variable {variable_of(old)}",
                expected=f"{variable_of(new)} in its place",
                got=repr(environ[variable_of(old)]),
                remedy=f"Set {variable_of(new)} to {NEW_VALUES.get(old, 'this value')} and unset the old one.",
            )
    variables = {name: variable_of(name) for name in FIELDS}
    given = {name: variable for name, variable in variables.items() if environ.get(variable, "") != ""}
    return {name: (environ[variable], f"env:{variable}") for name, variable in given.items()}


def _file_layer(path: Path) -> dict[str, tuple[Any, str]]:
    if not path.is_file():
        return {}
    if owned_by_another_user(path):
        raise SettingsError(
            str(path),
            expected="a file of yours: who sets the settings runs code as you",
            got="one that another user has put into a folder that every user may write",
            remedy="Run the command in a folder of your own.",
        )
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            str(path), expected="a readable TOML file", got=str(error), remedy="Correct or remove the file."
        ) from error
    found: dict[str, tuple[Any, str]] = {}
    for name, value, said in _pairs(content, path):
        if name in found:
            remedy = "Remove one of them."
            raise SettingsError(
                f"{said} in {path}", expected="each setting once", got="the same one twice", remedy=remedy
            )
        found[name] = (value, f"file:{SETTINGS_FILE}")
    return found


def _pairs(content: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any, str]]:
    """Name, value and place of each setting of a file."""
    for key, value in content.items():
        if key in GROUPS and isinstance(value, dict):
            names = {key_of(name): name for name in GROUPS[key].model_fields}
            for inner, each in value.items():
                said = f"setting '{inner}' of group [{key}]"
                if inner not in names:
                    raise _unknown_key(f"{said} in {path}", inner, names)
                yield names[inner], each, said
        elif key in _WITHOUT_GROUP:
            yield key, value, f"setting '{key}'"
        else:
            raise _unknown_key(f"setting '{key}' in {path}", key, {})


def _unknown_key(thing: str, key: str, group: Mapping[str, str]) -> SettingsError:
    """The error for a key of ``embedder.toml`` that is none there; ``group`` has the settings of its group by key."""
    if key in REMOVED:
        return SettingsError(
            thing, expected="a known setting", got="one that was removed", remedy=as_sentence(REMOVED[key])
        )
    if key in RENAMED:
        new = f"'{key_of(RENAMED[key])}' in [{GROUP_OF[RENAMED[key]]}]"
        remedy = f"Set {new} to {NEW_VALUES.get(key, 'this value')}."
        return SettingsError(thing, expected=f"{new} in its place", got=f"'{key}'", remedy=remedy)
    if key in FIELDS:
        section, own = GROUP_OF[key], key_of(key)
        remedy = f"Write `{own} = …` below the line `[{section}]`."
        return SettingsError(thing, expected=f"the key '{own}' of group [{section}]", got=f"'{key}'", remedy=remedy)
    known = {
        **{name: f"'{key_of(name)}' in [{GROUP_OF[name]}]" for name in FIELDS},
        **{name: f"'{name}'" for name in group},
    }
    nearest = next((known[each] for each in difflib.get_close_matches(key, known, n=1)), None)
    remedy = f"Did you mean {nearest}?" if nearest else "docs/settings.md lists every setting."
    return SettingsError(thing, expected="a known setting", got=f"'{key}'", remedy=remedy)


def _rejected(error: ValidationError, merged: Mapping[str, tuple[Any, str]]) -> SettingsError:
    misfit = first_field_error(error)
    name = misfit.field.partition(".")[0]
    value, provenance = merged.get(name, (misfit.got, "default"))
    meaning = FIELDS[name].description if name in FIELDS else "a known setting"
    if name == "links":
        value = HIDDEN  # several addresses, each perhaps with a secret
    elif name.endswith("_url") and "@" in str(value):
        # Where it fits no pattern, nobody knows where its password begins.
        value = f"{HIDDEN}@{str(value).rpartition('@')[2]}"
    return SettingsError(
        f"setting '{name}' ({provenance})",
        expected=f"{misfit.expected} ({meaning})",
        got=repr(value),
        remedy="docs/settings.md lists every setting with its default.",
    )
