"""The operator's pages against what they speak of: alert rules, settings, commands, automation, and each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from embedder_assets.cli.main import main
from embedder_assets.definitions import defs
from embedder_assets.resources import PipelineResource
from embedder_assets.settings import ENV_PREFIX, FIELDS, PROJECT_ROOT, REMOVED, RENAMED
from tests.unit.project.test_docs import LINK, PAGES, RUNBOOK, metrics_of_the_code, names, page, section

ALL_PAGES = sorted({*PAGES, *PROJECT_ROOT.glob("monitoring/**/*.md")})
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROJECT_ROOT / "monitoring/prometheus/rules/alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
}
AT_ONCE = "at once"
# Variables of earlier versions, which the pages name as gone.
GONE = {*RENAMED, *REMOVED, "rerank_weight"}
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4,}\S.*\n)+")
INLINE = re.compile(r"`([^`\n]+)`")
# A command with its words, up to whatever ends it.
COMMAND = re.compile(r"(?:^|[\s`/(])embedder((?: +[^\s`|;,)#&>]+)+)", re.MULTILINE)


def test_the_pages_are_found() -> None:
    found = {path.relative_to(PROJECT_ROOT).as_posix() for path in ALL_PAGES}
    assert {"README.md", "docs/operations/running.md", f"docs/{RUNBOOK}", "docs/how-to/postgres.md"} <= found
    assert len(RULES) >= 15


def alert_rows() -> dict[str, list[str]]:
    lines = [line for line in section(page(RUNBOOK), "Alerts").splitlines() if re.match(r"\| `[A-Z]", line)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_runbook_lists_exactly_the_alerts() -> None:
    documented = {name: (row[0], row[1]) for name, row in alert_rows().items()}
    assert documented == {name: (rule["labels"]["severity"], rule.get("for", AT_ONCE)) for name, rule in RULES.items()}


def test_runbook_explains_and_links_every_alert() -> None:
    for name, (_, _, when, why, link) in alert_rows().items():
        assert when and why, name
        assert RULES[name]["annotations"]["runbook_url"] == f"docs/telemetry/{LINK.findall(link)[0]}", name


@pytest.mark.parametrize("alert", RULES)
def test_runbook_urls_lead_to_complete_sections(alert: str) -> None:
    file, _, anchor = RULES[alert]["annotations"]["runbook_url"].partition("#")
    text = (PROJECT_ROOT / file).read_text("utf-8")
    titles = [title for title, slug in slugs(text) if slug == anchor]
    assert titles, f"{file} has no heading for #{anchor}"
    steps_section = section(text, titles[0])
    assert "\n1. " in steps_section and "\nOver: " in steps_section, titles[0]


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_every_link_and_anchor_resolves(path: Path) -> None:
    text = FENCED.sub("", path.read_text("utf-8"))
    assert [target for target in LINK.findall(text) if not leads_somewhere(path, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    if "://" in target or target.startswith("mailto:"):
        return True
    file, _, anchor = target.partition("#")
    there = page.parent / file if file else page
    if not anchor or not there.is_file():
        return there.exists() and not anchor
    return anchor in {slug for _, slug in slugs(there.read_text("utf-8"))}


def slugs(text: str) -> Iterator[tuple[str, str]]:
    """Each heading of a page with its anchor, as GitHub makes them."""
    seen: dict[str, int] = {}
    for title in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield title, f"{slug}-{seen[slug]}" if slug in seen else slug
        seen[slug] = seen.get(slug, 0) + 1


def test_every_setting_that_a_page_names_exists() -> None:
    named = {
        (name.removeprefix(ENV_PREFIX).lower(), path.name)
        for path in ALL_PAGES
        for name in re.findall(r"\bEMBEDDER_[A-Z0-9_]+(?!…)\b", path.read_text())
    }
    assert {(name, page) for name, page in named if name not in {*FIELDS, *GONE}} == set()
    assert {(name, page) for name, page in named if name in REMOVED} == set()
    assert not GONE & FIELDS.keys()


def test_documented_and_alerted_metrics_exist() -> None:
    known = metrics_of_the_code() | {"rag_tables"}
    files = [*ALL_PAGES, *PROJECT_ROOT.glob("monitoring/prometheus/rules/*.yml")]
    named = {
        re.sub("_(bucket|sum|count)$", "", name): path.name
        for path in files
        for name in re.findall(r"\brag_[a-z0-9_]*[a-z0-9]\b", path.read_text("utf-8"))
    }
    assert {name: where for name, where in named.items() if name not in known} == {}


def test_documented_commands_and_options_exist() -> None:
    shown = {words: path.name for path in ALL_PAGES for words in commands_of(path.read_text("utf-8"))}
    assert len(shown) > 50
    assert {words: where for words, where in shown.items() if problem_of(words.split())} == {}


def commands_of(text: str) -> Iterator[str]:
    """The words behind ``embedder`` in code blocks and in code quotes."""
    blocks = [*FENCED.findall(text), *INDENTED.findall(text)]
    quotes = INLINE.findall(FENCED.sub("", text))
    for code in (*blocks, *quotes):
        yield from (words.strip() for words in COMMAND.findall(code))


def problem_of(words: list[str]) -> str | None:
    """What of a command line does not exist."""
    command: click.Command = main
    words = [word.strip("[]") for word in words]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else None


def test_a_command_that_does_not_exist_is_noticed() -> None:
    text = "Text `embedder tables shrink`.\n\n    embedder run --fast | cat\n\n```\n$ .venv/bin/embedder fly\n```\n"
    assert [problem_of(words.split()) for words in commands_of(text)] == [
        "no command fly",
        "no option --fast",
        "no command shrink",
    ]


def test_guide_lists_exactly_sensors_and_schedules() -> None:
    repository = defs.get_repository_def()
    times = {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs}
    table = re.findall(r"^\| s\w+ `.*", page("operations/automation.md"), re.MULTILINE)
    documented = {names(line)[0]: line for line in table}
    assert documented.keys() == {sensor.name for sensor in repository.sensor_defs} | times.keys()
    for name, cron in times.items():
        minute, hour = str(cron).split()[:2]
        assert f"{int(hour):02}:{int(minute):02}" in documented[name]


def test_guide_names_the_launch_pad_fields() -> None:
    text = section(page("operations/running.md"), "The UI")
    sentence = text.partition("The launch pad takes")[2].partition("\n\n")[0]
    assert {*names(sentence)} == {*PipelineResource.model_fields}
