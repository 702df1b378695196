"""Writes ``docs/reference.md`` from the code location: ``python docs/build_reference.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import dagster as dg

from embedder_assets.cli.main import main
from embedder_assets.definitions import defs
from embedder_assets.resources import PipelineResource

TARGET = Path(__file__).with_name("reference.md")
INTRODUCTION = """\
# Reference

This page lists the commands, and what the code location has: assets, checks, jobs, schedules, sensors, and the
configuration of a run. It is generated from the code by `python docs/build_reference.py`: do not edit it by hand.
Columns of the tables are in [tables.md](tables.md), settings in [settings.md](settings.md), metrics and spans in the
[runbook](telemetry/rerank_sparse_signals.md).
"""
COMMANDS = """\
The commands are in `.venv/bin`: run `. .venv/bin/activate` once, or write `.venv/bin/embedder`. Each has `--help`. The
exit status is not 0 when a stage or a check failed."""
AUTOMATION = (
    "Schedules and sensors are off until they are switched on in the UI, or all at once by `EMBEDDER_AUTOMATION`."
)


def reference_page() -> str:
    """The whole page."""
    sections = {
        "Commands": f"{COMMANDS}\n\n{_table(('command', 'what it does', 'options'), _commands(main, 'embedder'))}",
        "Assets": _table(("asset", "group", "made from", "kinds", "what it is"), _assets()),
        "Checks": _table(("asset", "check", "blocking", "what must hold"), _checks()),
        "Jobs": _table(("job", "what it does"), _jobs()),
        "Schedules": f"{AUTOMATION}\n\n{_table(('schedule', 'cron', 'job', 'what it does'), _schedules())}",
        "Sensors": _table(("sensor", "what it does"), _sensors()),
        "Run configuration": _table(("field of `resources.pipeline.config`", "meaning"), _run_configuration()),
    }
    return "\n".join([INTRODUCTION, *(f"## {title}\n\n{text}\n" for title, text in sections.items())])


def _commands(command: click.Command, path: str) -> Iterator[Sequence[str]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, f"{path} {name}")
        return
    context = click.Context(command)
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    options = [_option(each, context) for each in command.params if isinstance(each, click.Option)]
    yield _name(" ".join([path, *arguments])), command.get_short_help_str(limit=200), " ".join(options)


def _option(option: click.Option, context: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    return f"{_name(option.opts[0] + value)}: {option.help}"


def _assets() -> Iterator[Sequence[str]]:
    graph = defs.resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        parents = _names(sorted(parent.to_user_string() for parent in node.parent_keys))
        yield _name(key.to_user_string()), str(node.group_name), parents, ", ".join(sorted(node.kinds)), _words(node)


def _checks() -> Iterator[Sequence[str]]:
    graph = defs.resolve_asset_graph()
    for key in sorted(graph.asset_check_keys, key=lambda each: (each.asset_key, each.name)):
        spec = graph.get_check_spec(key)
        yield (
            _name(key.asset_key.to_user_string()),
            _name(key.name),
            "yes" if spec.blocking else "no",
            _words(spec),
        )


def _jobs() -> Iterator[Sequence[str]]:
    for job in defs.get_repository_def().get_all_jobs():
        # Dagster's own job for a selection of assets has no description and no name that people use.
        if not job.name.startswith("__"):
            yield _name(job.name), _words(job)


def _schedules() -> Iterator[Sequence[str]]:
    for schedule in defs.get_repository_def().schedule_defs:
        yield _name(schedule.name), f"`{schedule.cron_schedule}`", _name(schedule.job_name), _words(schedule)


def _sensors() -> Iterator[Sequence[str]]:
    for sensor in defs.get_repository_def().sensor_defs:
        yield _name(sensor.name), _words(sensor)


def _run_configuration() -> Iterator[Sequence[str]]:
    for name, field in PipelineResource.model_fields.items():
        yield _name(name), str(field.description)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _words(described: dg.AssetCheckSpec | object) -> str:
    return " ".join(str(getattr(described, "description", "")).split())


def _name(name: str) -> str:
    return f"`{name}`"


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(_name, names))


if __name__ == "__main__":
    TARGET.write_text(reference_page(), "utf-8")
