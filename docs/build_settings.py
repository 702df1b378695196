"""Writes ``docs/settings.md`` from ``embedder_assets/settings/``: ``python docs/build_settings.py``."""

from __future__ import annotations

from pathlib import Path

from embedder_assets.settings import FIELDS, GROUPS, PROJECT_ROOT, key_of, variable_of

TARGET = Path(__file__).with_name("settings.md")
INTRODUCTION = """\
# Settings

This page lists every setting with its default and its meaning: as a variable of the environment, and as a key of its
group in `embedder.toml`. It is generated from `embedder_assets/settings/` by `python docs/build_settings.py`: do not
edit it by hand.
"""
EXPLANATION = """\
## Where a value comes from

Lowest first, each layer wins over the one before:

1. the default in the table;
2. `embedder.toml` in the working directory, which has a table for each group; the first eight settings that one meets
   (`home`, `corpus_dir`, `triton_url`, `enable_sparse`, `enable_rerank`, `gpu_soft_limit_gb`, `metrics_enabled`,
   `metrics_port`) may also stand outside it, above the first table, by these names:

   ```toml
   enable_rerank = false

   [triton]
   url = ["gpu-1:8001", "gpu-2:8001"]

   [limits]
   max_document_mb = 50
   ```
3. the environment variable; one that is set to the empty string counts as unset;
4. the command line (`--corpus`, `--disable-rerank`, `--disable-sparse`) or Dagster's run config (`corpus_dir`,
   `enable_sparse`, `enable_rerank` and `max_lost_share` of the resource `pipeline`).

Each value keeps its origin in words: `default`, `file:embedder.toml`, `env:EMBEDDER_ENABLE_SPARSE`,
`cli:--disable-rerank` or `run_config`. The manifest and the footer show it for the toggles.

A value that is not allowed, or an unknown key in `embedder.toml`, ends the command with a message that names the
setting and its origin, for a key without its group with the group. An unknown `EMBEDDER_` variable does not; every
command and `embedder doctor` warn of it with the nearest name, and for a setting that was removed with what stands in
its place. A variable that another one replaces is refused with that one's name, since its value would be ignored.

Relative paths count from the working directory. The defaults that are paths of the project count from the project.

OpenTelemetry is set by its own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, see [telemetry](telemetry/README.md)),
[Dagster's instance](operations/running.md#dagsters-instance) by `DAGSTER_HOME` (default: `dagster/` under
`EMBEDDER_HOME`).
"""


def settings_page() -> str:
    """The whole page."""
    groups = "\n\n".join(settings_table(group) for group in GROUPS)
    return f"{INTRODUCTION}\n{groups}\n\n{EXPLANATION}"


def settings_table(group: str) -> str:
    """A section with a Markdown table of the settings of a group: variable, key, default and meaning."""
    rows = [
        f"| `{variable_of(name)}` | `{key_of(name)}` | {_shown(FIELDS[name].default)} | {FIELDS[name].description} |"
        for name in GROUPS[group].model_fields
    ]
    what = (GROUPS[group].__doc__ or "").replace("``", "`")
    return "\n".join(
        [f"## [{group}]\n\n{what}\n", "| variable | key | default | meaning |", "|---|---|---|---|", *rows]
    )


def _shown(default: object) -> str:
    """A default as a person writes it; a path of the project relative to the project, never one of this machine."""
    if isinstance(default, Path) and default.is_relative_to(PROJECT_ROOT):
        default = default.relative_to(PROJECT_ROOT).as_posix()
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, tuple):
        default = ",".join(default)
    return "unset" if default in (None, "", {}) else f"`{default}`"


if __name__ == "__main__":
    TARGET.write_text(settings_page(), "utf-8")
