"""The ``embedder`` command: parse, call one function, print."""

from __future__ import annotations

import gc
import getpass
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import click

from embedder_assets.cli import display, interrupt
from embedder_assets.cli.group import Commands, distinct
from embedder_assets.cli.models import models
from embedder_assets.cli.tables import tables
from embedder_assets.environment import variable_warnings
from embedder_assets.permissions import restrict_permissions
from embedder_assets.settings import Settings, load_settings, settings_at_load
from embedder_assets.terminal import say, say_json, warn

POLL_S = 0.2
_COLLECTIONS = click.option(
    "--collection",
    "names",
    multiple=True,
    metavar="NAME",
    callback=distinct,
    help="Only this collection; may be repeated.",
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="embedder-assets")
@click.pass_context
def main(context: click.Context) -> None:
    """RAG tables as Dagster assets, computed by models in a real NVIDIA Triton server."""
    interrupt.raise_keyboard_interrupt()
    for sentence in variable_warnings(os.environ):
        warn(sentence)
    if context.invoked_subcommand == "doctor":
        return  # which says so, and changes nothing
    for path in restrict_permissions(settings_at_load().home):
        warn(f"{path}: other users could look into it or write it; not any more (docs/security.md)")


@contextmanager
def _loading() -> Iterator[None]:
    """While modules load, an interrupt ends the command at once."""
    interrupt.exit_immediately()
    try:
        yield
    finally:
        interrupt.raise_keyboard_interrupt()


@main.command()
@click.option("--corpus", metavar="DIR", help="Folder whose sub-folders are the collections.")
@_COLLECTIONS
@click.option("--disable-rerank", is_flag=True, help="Leave the rerank stage out.")
@click.option("--disable-sparse", is_flag=True, help="Leave the sparse stage out.")
@click.option("--accept-loss", is_flag=True, help="Let any number of documents go: they were deleted on purpose.")
def run(corpus: str | None, names: tuple[str, ...], **flags: bool) -> None:
    """Update the tables of all collections."""
    settings = _settings(corpus, flags)
    with display.progress() as report:
        with _loading():
            from embedder_assets.run import launch
            from embedder_assets.run_context import Pipeline

        # Half a million objects of modules live to the end: looking through them again and again costs half a second.
        gc.freeze()
        pipeline = Pipeline(settings, report)
        try:
            outcome = launch(pipeline, names)
        finally:
            pipeline.close()
    if outcome.interrupted:
        raise KeyboardInterrupt
    display.show_outcome(outcome, pipeline)
    gc.freeze()
    sys.exit(0 if outcome.success else 1)


def _query(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuses a query that no model can read, or whose hits would mean nothing."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("it is not valid UTF-8; check the terminal's encoding", param=parameter) from None
    if not any(character.isalnum() for character in value):
        raise click.BadParameter("it has neither a letter nor a digit; type what to look for", param=parameter)
    return value


def _groups(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """The groups of a reader; None where the option is not given."""
    if not all(values):
        raise click.BadParameter("a group is empty; name one, or leave the option out to search all", param=parameter)
    return values or None


@main.command()
@click.argument("query", callback=_query)
@_COLLECTIONS
@click.option("--top", default=5, show_default=True, type=click.IntRange(1, 100), help="Hits to show.")
@click.option("--where", metavar="FILTER", help="Only documents whose fields meet this condition.")
@click.option(
    "--allow",
    multiple=True,
    metavar="GROUP",
    callback=_groups,
    help="Only what this group may see, by the field `acl`; may be repeated. Without it no permission is applied.",
)
@click.option("--all", "show_all", is_flag=True, help="Show near-equal documents too, not the best of them alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def search(query: str, names: tuple[str, ...], top: int, as_json: bool, **options: Any) -> None:
    r"""Search the tables: dense and sparse, fused, then reranked.

    \b
    embedder search "a leaking seal" --where 'product = "pump" and year >= 2020'
    embedder search "payment terms" --where "keywords contains 'tax'" --allow group:finance

    A filter compares fields of the documents (= != < <= > >=, in (…), contains, is null) and joins conditions with and,
    or, not and parentheses.
    """
    from embedder_assets.retrieval.search import Search
    from embedder_assets.run_context import Pipeline
    from embedder_assets.serving.models.configured import require_models

    settings = load_settings()
    require_models(settings)
    pipeline = Pipeline(settings)
    try:
        searched = Search(pipeline.store, pipeline.triton, pipeline.settings, names, warn)
        hits = searched.search(query, top, collapse=not options.pop("show_all"), **options)
        if as_json:
            hits = searched.with_metadata(hits)
    finally:
        pipeline.close()
    if as_json:
        say_json(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
    else:
        display.show_hits(hits, query)


main.add_command(models)
main.add_command(tables)


@main.group()
def baseline() -> None:
    """Accept and show what the retrieval of a collection has to reach."""


@baseline.command("accept")
@_COLLECTIONS
@click.option("--note", default="", metavar="TEXT", help="Why, for those who come later.")
@click.option("--by", "accepted_by", metavar="NAME", help="Who accepts; the user of this machine by default.")
def baseline_accept(names: tuple[str, ...], note: str, accepted_by: str | None) -> None:
    """Make the newest evaluation of each collection its baseline."""
    from embedder_assets.evaluation.baseline import accept
    from embedder_assets.tables.store import TableStore

    settings = load_settings()
    store = TableStore.of(settings)
    display.show_baselines(accept(store, settings, names, accepted_by=accepted_by or _user(), note=note))


@baseline.command("show")
def baseline_show() -> None:
    """Show the baseline of each collection."""
    from embedder_assets.evaluation.baseline import accepted_baselines
    from embedder_assets.tables.store import TableStore

    found = list(accepted_baselines(TableStore.of(load_settings())))
    if found:
        display.show_baselines(found)
    else:
        say("no baseline is accepted yet; `embedder baseline accept` accepts the newest evaluation")


@baseline.command("drop")
@click.option("--collection", "names", multiple=True, required=True, metavar="NAME", help="Which; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def baseline_drop(names: tuple[str, ...], yes: bool) -> None:
    """Give up the baseline of a collection: its rankings are compared with nothing any more."""
    from embedder_assets.evaluation.baseline import drop
    from embedder_assets.tables.store import TableStore

    if not yes:
        click.confirm(f"Give up the baseline of {', '.join(map(repr, dict.fromkeys(names)))}?", abort=True)
    display.show_baselines(drop(TableStore.of(load_settings()), names))
    say("given up; `embedder tables restore quality_baselines` restores what was accepted")


@main.group()
def weights() -> None:
    """Show how much each part of the ranking counts."""


@weights.command("show")
@_COLLECTIONS
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def weights_show(names: tuple[str, ...], as_json: bool) -> None:
    """Show the weights of each collection's ranking, what they were learned from, and the gain."""
    from embedder_assets.retrieval.weights_in_use import weights_of_collections
    from embedder_assets.tables.store import TableStore

    settings = load_settings()
    found = weights_of_collections(TableStore.of(settings), settings, names)
    if as_json:
        say_json(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=2))
    else:
        display.show_weights(found)


@main.group()
def summary() -> None:
    """Show and check what a run left in its manifest."""


@summary.command("show")
@click.argument("wanted", required=False, metavar="[RUN_ID|PATH]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON, as v4.1.")
def summary_show(wanted: str | None, as_json: bool) -> None:
    """Show a run, the newest by default; the first letters of a run id will do."""
    from embedder_assets.cli.summary import manifest_named, show_manifest

    manifest = manifest_named(load_settings().home, wanted)
    if as_json:
        say_json(manifest.model_dump_json(exclude_none=True, indent=2))
    else:
        show_manifest(manifest)


@summary.command("validate")
@click.argument("wanted", nargs=-1, metavar="[RUN_ID|PATH]...", callback=distinct)
def summary_validate(wanted: tuple[str, ...]) -> None:
    """Validate manifests, the newest by default, against the schema; exit status 1 if one does not fit."""
    from embedder_assets.cli.summary import problems_of_manifests

    whole = True
    for thing, problems in problems_of_manifests(load_settings().home, wanted or (None,)):
        for sentence in problems or ["ok"]:
            say(f"{thing}: {sentence}")
        whole = whole and not problems
    sys.exit(0 if whole else 1)


@main.command()
def serve() -> None:
    """Run the embedded Triton in the foreground; runs on the same home use it."""
    from embedder_assets.serving.server.access import ServerAccess
    from embedder_assets.serving.server.embedded import EmbeddedTriton, advertise

    settings = load_settings()
    state, access = settings.home / "triton", ServerAccess.of(settings)
    with (
        suppress(KeyboardInterrupt),
        EmbeddedTriton(settings.model_repository, state, settings.triton_trace_url, access, reuse_ports=True) as server,
        advertise(server, state),
    ):
        say(f"gRPC:    {server.address.grpc}")
        say(f"Metrics: {server.address.metrics_url}")
        say(f"Log:     {server.log_file}")
        while server.running:
            time.sleep(POLL_S)
        raise click.ClickException(f"the embedded Triton server has ended by itself; its log is {server.log_file}")


@main.command()
def exporter() -> None:
    """Serve the metrics of all runs in the foreground, from the Dagster event log."""
    from embedder_assets.run import dagster_instance, metrics_of
    from embedder_assets.telemetry.exporter.server import METRICS_PATH, serve_metrics

    settings = load_settings()
    with suppress(KeyboardInterrupt), dagster_instance(settings) as instance:
        collector, state = metrics_of(instance)
        collector.catch_up()
        with serve_metrics(collector, settings, long_running=True, extra=state) as url:
            say(f"Metrics: {url}{METRICS_PATH}")
            threading.Event().wait()


@main.command()
def up() -> None:
    """Run Triton, exporter, Dagster webserver and daemon until Ctrl-C."""
    from embedder_assets.cli.stack import run_stack

    with suppress(KeyboardInterrupt):
        run_stack(load_settings(), say)
    say("ended")


@main.command()
def doctor() -> None:
    """Say what is installed, reachable and missing, and the remedy for each."""
    from embedder_assets.cli.doctor import examine

    findings = list(examine(load_settings()))
    display.show_diagnoses(findings)
    sys.exit(1 if any(finding.level == "problem" for finding in findings) else 0)


def _user() -> str:
    """Who runs this: a name, or the number where a container has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _settings(corpus: str | None, flags: Mapping[str, bool]) -> Settings:
    """The settings of ``embedder run``, with the names of its flags as click has them."""
    overrides: dict[str, tuple[Any, str]] = {}
    if corpus == "":
        raise click.BadParameter("it is empty; name a folder, or '.' for this one", param_hint="--corpus")
    if corpus is not None:
        overrides["corpus_dir"] = (corpus, "cli:--corpus")
    if flags["disable_rerank"]:
        overrides["enable_rerank"] = (False, "cli:--disable-rerank")
    if flags["disable_sparse"]:
        overrides["enable_sparse"] = (False, "cli:--disable-sparse")
    if flags["accept_loss"]:
        overrides["max_lost_share"] = (1.0, "cli:--accept-loss")
    return load_settings(overrides)
