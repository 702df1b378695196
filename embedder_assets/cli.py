"""The ``embedder`` command: parse, call one function, print."""

from __future__ import annotations

import gc
import getpass
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import click

from embedder_assets import display
from embedder_assets.cli_tables import tables
from embedder_assets.errors import EmbedderError
from embedder_assets.permissions import restrict_permissions, users_umask
from embedder_assets.settings import Settings, load_settings, settings_at_load

POLL_S = 0.2


class Commands(click.Group):
    """Shows our own errors as one sentence and exit status 1 instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except EmbedderError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            # Most often a disk that is full, or a folder that is not ours to write.
            raise click.ClickException(f"{error}. Check free space and permissions, then run again.") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="embedder-assets")
@click.pass_context
def main(context: click.Context) -> None:
    """RAG tables as Dagster assets, computed by models in a real NVIDIA Triton server."""
    # SIGTERM ends a command as Ctrl-C does: with everything that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if context.invoked_subcommand == "doctor":
        return  # which says so, and changes nothing
    for path in restrict_permissions(settings_at_load().home):
        click.echo(f"{path}: other users could look into it; now only you can (docs/security.md)", err=True)


@contextmanager
def _loading() -> Iterator[None]:
    """While modules load, an interrupt ends the command at once: nothing runs yet that has to be ended with it.

    As an exception it may come up inside a callback of the import system, where Python prints and forgets it.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, signal.SIG_DFL) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@main.command()
@click.option("--corpus", metavar="DIR", help="Folder whose sub-folders are the collections.")
@click.option("--collection", "names", multiple=True, metavar="NAME", help="Only this collection; may be repeated.")
@click.option("--disable-rerank", is_flag=True, help="Leave the rerank stage out.")
@click.option("--disable-sparse", is_flag=True, help="Leave the sparse stage out.")
@click.option("--accept-loss", is_flag=True, help="Let any number of documents go: they were deleted on purpose.")
def run(corpus: str | None, names: tuple[str, ...], **flags: bool) -> None:
    """Bring the tables of all collections up to date."""
    with _loading():
        from embedder_assets.launch import launch
        from embedder_assets.pipeline import Pipeline

    # Half a million objects of modules live to the end: looking through them again and again costs half a second.
    gc.freeze()
    settings = _settings(corpus, flags)
    with display.progress() as report:
        pipeline = Pipeline(settings, report)
        try:
            outcome = launch(pipeline, names)
        finally:
            pipeline.close()
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


@main.command()
@click.argument("query", callback=_query)
@click.option("--collection", "names", multiple=True, metavar="NAME", help="Only this collection; may be repeated.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1, 100), help="Hits to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def search(query: str, names: tuple[str, ...], top: int, as_json: bool) -> None:
    """Search the tables: dense and sparse, fused, then reranked."""
    from embedder_assets.pipeline import Pipeline
    from embedder_assets.stages.search import Search

    pipeline = Pipeline(load_settings())
    try:
        hits = Search(pipeline.store, pipeline.triton, pipeline.settings, names, display.warn).search(query, top)
    finally:
        pipeline.close()
    if as_json:
        click.echo(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
    else:
        display.show_hits(hits, query)


@main.group()
def models() -> None:
    """Fill, verify and list the model repository."""


@models.command("add")
@click.argument("name")
@click.option("--stage", required=True, type=click.Choice(["dense", "sparse", "rerank"]), help="What it is for.")
@click.option("--from", "origin", required=True, metavar="DIR|ID", help="Checkpoint folder, or Hugging Face id.")
@click.option("--revision", help="Commit, branch or tag on the hub; its commit is pinned.")
@click.option("--license", help="Licence of the weights, if the checkpoint does not state it.")
@click.option("--pooling", type=click.Choice(["mean", "cls", "last_token"]), help="Of a dense model.")
@click.option("--max-tokens", type=int, help="Longest input; the checkpoint's own up to 512 by default.")
@click.option("--dimension", type=int, help="Pairs of a sparse model, 256 by default.")
@click.option("--query-prefix", help="Put before every query.")
@click.option("--passage-prefix", help="Put before every passage.")
def models_add(**options: Any) -> None:
    """Look at a checkpoint and describe it in the model repository."""
    from embedder_assets.serving.add import NewModel, add_model

    with users_umask():
        display.show_added(add_model(load_settings().model_repository, NewModel(**options)))


@models.command("build")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def models_build(names: tuple[str, ...]) -> None:
    """Fetch, verify, convert and configure every model (or those named) that is missing or stale."""
    from embedder_assets.serving.build import build_models

    settings = load_settings()
    with users_umask():
        built = build_models(settings.model_repository, click.echo, names=names, device=settings.device)
    click.echo(f"{len(built)} built" if built else "all models are built")


@models.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def models_verify(names: tuple[str, ...]) -> None:
    """Check the files of every model (or those named), and its answers in Triton against its reference."""
    from embedder_assets.serving.session import TritonSession
    from embedder_assets.serving.verify import verify_models

    settings = load_settings()
    session = TritonSession(settings)
    try:
        verdicts = list(verify_models(settings, session, names))
    finally:
        session.close()
    for verdict in verdicts:
        click.echo(f"{verdict.name}: {verdict.problem or f'ok, {verdict.figure}'}")
    sys.exit(1 if any(verdict.problem for verdict in verdicts) else 0)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def models_list(as_json: bool) -> None:
    """Show every model of the repository."""
    from embedder_assets.serving.build import inspect_models

    settings = load_settings()
    states = list(inspect_models(settings.model_repository, device=settings.device))
    if as_json:
        click.echo(json.dumps([state.as_row() for state in states], ensure_ascii=False, indent=2))
    else:
        display.show_models(states)


@models.command("tune")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=4.0, help="Of each measurement; 4 by default.")
@click.option("--write", is_flag=True, help="Write the number that is the fastest into the model's description.")
def models_tune(names: tuple[str, ...], seconds: float, write: bool) -> None:
    """Measure with how many worker threads every model (or those named) is fastest on this machine."""
    from embedder_assets.serving.models import list_descriptions
    from embedder_assets.serving.tune import tune_model, write_threads

    settings = load_settings()
    for description in list_descriptions(settings.model_repository, names):
        name = description.name
        tuned = tune_model(settings, name, seconds, click.echo)
        if write and tuned.best != tuned.configured:
            write_threads(settings.model_repository, name, tuned.best, settings.device)
        display.show_tuned(tuned, written=write)


@models.command("compare")
@click.argument("former")
@click.argument("candidate")
@click.option("--collection", required=True, metavar="NAME", help="A collection with judged queries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def models_compare(former: str, candidate: str, collection: str, as_json: bool) -> None:
    """Try CANDIDATE in the place of FORMER on judged queries; the tables stay as they are."""
    from embedder_assets.pipeline import Pipeline
    from embedder_assets.stages.compare import ModelComparison
    from embedder_assets.tables.turns import in_turn
    from embedder_assets.telemetry.record import StageMeter

    with display.progress() as report:
        pipeline = Pipeline(load_settings(), report)
        try:
            meter = StageMeter("dense", [collection], report=report)
            comparison = ModelComparison(pipeline.store, pipeline.triton, pipeline.settings, meter)
            found = in_turn(pipeline.store, [collection], lambda: comparison.compare(former, candidate, collection))
        finally:
            pipeline.close()
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))
    else:
        display.show_comparison(found)


main.add_command(tables)


@main.group()
def baseline() -> None:
    """Accept and show what the retrieval of a collection has to reach."""


@baseline.command("accept")
@click.option("--collection", "names", multiple=True, metavar="NAME", help="Only this collection; may be repeated.")
@click.option("--note", default="", metavar="TEXT", help="Why, for those who come later.")
@click.option("--by", "accepted_by", metavar="NAME", help="Who accepts; the user of this machine by default.")
def baseline_accept(names: tuple[str, ...], note: str, accepted_by: str | None) -> None:
    """Make the newest evaluation of each collection its baseline."""
    from embedder_assets.stages.baseline import accept
    from embedder_assets.tables.store import TableStore

    settings = load_settings()
    store = TableStore.of(settings)
    display.show_baselines(accept(store, settings, names, accepted_by=accepted_by or getpass.getuser(), note=note))


@baseline.command("show")
def baseline_show() -> None:
    """Show the baseline of each collection."""
    from embedder_assets.stages.baseline import accepted_baselines
    from embedder_assets.tables.store import TableStore

    found = list(accepted_baselines(TableStore.of(load_settings())))
    if found:
        display.show_baselines(found)
    else:
        click.echo("no baseline is accepted yet; `embedder baseline accept` accepts the newest evaluation")


@main.group()
def summary() -> None:
    """Show and check what a run left in its manifest."""


@summary.command("show")
@click.argument("wanted", required=False, metavar="[RUN_ID|PATH]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON, as v4.1.")
def summary_show(wanted: str | None, as_json: bool) -> None:
    """Show a run, the newest by default; the first letters of a run id will do."""
    from embedder_assets.summaries import manifest_named, show_manifest

    manifest = manifest_named(load_settings().home, wanted)
    if as_json:
        click.echo(manifest.model_dump_json(exclude_none=True, indent=2))
    else:
        show_manifest(manifest)


@summary.command("validate")
@click.argument("wanted", nargs=-1, metavar="[RUN_ID|PATH]...")
def summary_validate(wanted: tuple[str, ...]) -> None:
    """Hold manifests, the newest by default, against the schema; exit status 1 if one does not fit."""
    from embedder_assets.summaries import verdicts

    whole = True
    for thing, problems in verdicts(load_settings().home, wanted or (None,)):
        for sentence in problems or ["ok"]:
            click.echo(f"{thing}: {sentence}")
        whole = whole and not problems
    sys.exit(0 if whole else 1)


@main.command()
def serve() -> None:
    """Run the embedded Triton in the foreground; runs on the same home use it."""
    from embedder_assets.serving.access import ServerAccess
    from embedder_assets.serving.embedded import EmbeddedTriton, published

    settings = load_settings()
    state, access = settings.home / "triton", ServerAccess.of(settings)
    with (
        suppress(KeyboardInterrupt),
        EmbeddedTriton(settings.model_repository, state, settings.triton_trace_url, access, lasting=True) as server,
        published(server, state),
    ):
        click.echo(f"gRPC:    {server.address.grpc}\nMetrics: {server.address.metrics_url}\nLog:     {server.log_file}")
        while server.running:
            time.sleep(POLL_S)
        raise click.ClickException(f"the embedded Triton server has ended by itself; its log is {server.log_file}")


@main.command()
def exporter() -> None:
    """Serve the metrics of all runs in the foreground, from the Dagster event log."""
    from embedder_assets.launch import dagster_instance, metrics_of
    from embedder_assets.telemetry.server import METRICS_PATH, served

    settings = load_settings()
    with suppress(KeyboardInterrupt), dagster_instance(settings) as instance:
        collector, state = metrics_of(instance)
        collector.catch_up()
        with served(collector, settings, lasting=True, beside=state) as url:
            click.echo(f"Metrics: {url}{METRICS_PATH}")
            threading.Event().wait()


@main.command()
def up() -> None:
    """Run Triton, exporter, Dagster webserver and daemon until Ctrl-C."""
    from embedder_assets.stack import run_stack

    with suppress(KeyboardInterrupt):
        run_stack(load_settings(), click.echo)
    click.echo("ended")


@main.command()
def doctor() -> None:
    """Say what is installed, reachable and missing, and the remedy for each."""
    from embedder_assets.doctor import examine

    findings = list(examine(load_settings()))
    display.show_findings(findings)
    sys.exit(1 if any(finding.level == "problem" for finding in findings) else 0)


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
