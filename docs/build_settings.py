"""Writes ``docs/settings.md`` from ``embedder_assets/settings.py``: ``python docs/build_settings.py``."""

from __future__ import annotations

from pathlib import Path

from embedder_assets.settings import FIELDS, PROJECT_ROOT, variable_of

TARGET = Path(__file__).with_name("settings.md")
INTRODUCTION = """\
# Settings

This page lists every setting with its default and its meaning. It is generated from `embedder_assets/settings.py` by
`python docs/build_settings.py`: do not edit it by hand.
"""
EXPLANATION = """\
## Where a value comes from

Lowest first, each layer wins over the one before:

1. the default in the table;
2. `embedder.toml` in the working directory, the name of the variable without `EMBEDDER_` and in lower case as its key,
   for example `enable_rerank = false`;
3. the environment variable; one that is set to the empty string counts as unset;
4. the command line (`--corpus`, `--disable-rerank`, `--disable-sparse`) or Dagster's run config (`corpus_dir`,
   `enable_sparse`, `enable_rerank` and `max_lost_share` of the resource `pipeline`).

Each value keeps its origin in words: `default`, `file:embedder.toml`, `env:EMBEDDER_ENABLE_SPARSE`,
`cli:--disable-rerank` or `run_config`. The manifest and the footer show it for the toggles.

A value that is not allowed, or an unknown key in `embedder.toml`, ends the command with a message that names the
setting and its origin. An unknown `EMBEDDER_` variable does not; every command warns of it with the nearest name.
A variable that has been renamed is refused with its new name, since its value would be ignored.

Relative paths count from the working directory. The defaults that are paths of the project count from the project.

OpenTelemetry is set by its own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, see [telemetry](telemetry/README.md)),
Dagster's instance by `DAGSTER_HOME` (default: `dagster/` under `EMBEDDER_HOME`; see [operations.md](operations.md)).
"""


def settings_page() -> str:
    """The whole page."""
    return f"{INTRODUCTION}\n{settings_table()}\n\n{EXPLANATION}"


def settings_table() -> str:
    """A Markdown table of every setting: its variable, its default and its meaning."""
    rows = [
        f"| `{variable_of(name)}` | {_shown(field.default)} | {field.description} |" for name, field in FIELDS.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _shown(default: object) -> str:
    """A default as a person writes it; a path of the project relative to the project, never one of this machine."""
    if isinstance(default, Path) and default.is_relative_to(PROJECT_ROOT):
        default = default.relative_to(PROJECT_ROOT).as_posix()
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, tuple):
        default = ",".join(default)
    return "unset" if default in (None, "") else f"`{default}`"


if __name__ == "__main__":
    TARGET.write_text(settings_page(), "utf-8")
