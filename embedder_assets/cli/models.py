"""``embedder models``: the commands on the model repository."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from embedder_assets.cli import display
from embedder_assets.cli.group import distinct
from embedder_assets.permissions import users_umask
from embedder_assets.settings import load_settings
from embedder_assets.terminal import say, say_json


@click.group()
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
    """Build a checkpoint on trial and describe it in the model repository."""
    from embedder_assets.serving.models.add import NewModel, add_model

    settings = load_settings()
    with users_umask():
        display.show_added(add_model(settings.model_repository, NewModel(**options), settings.device))


@models.command("build")
@click.argument("names", nargs=-1, metavar="[NAME]...", callback=distinct)
def models_build(names: tuple[str, ...]) -> None:
    """Fetch, verify, convert and configure every model (or those named) that is missing or stale.

    The exit status is 1 if a model that was named, or that the settings use, could not be built.
    """
    from embedder_assets.serving.models.build import build_each
    from embedder_assets.serving.models.configured import configured_models

    settings = load_settings()
    with users_umask():
        outcome = build_each(
            settings.model_repository,
            say,
            names=names,
            device=settings.device,
            shared_tables=settings.tables_url is not None,
        )
    required = set(names or configured_models(settings))
    if outcome.built or not outcome.failed:
        say(f"{len(outcome.built)} built" if outcome.built else "all models are built")
    for name in outcome.failed:
        unused = "" if name in required else f" (no setting names it; `embedder models remove {name}` takes it out)"
        say(f"not built: {name}{unused}")
    sys.exit(1 if required & outcome.failed.keys() else 0)


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Take an added model that no setting names out of the model repository."""
    from embedder_assets.serving.models.remove import remove_model

    display.show_removed(remove_model(load_settings(), name))


@models.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...", callback=distinct)
def models_verify(names: tuple[str, ...]) -> None:
    """Check the files of every model (or those named), and its answers in Triton against its reference."""
    from embedder_assets.serving.client.session import TritonSession
    from embedder_assets.serving.verify import verify_models

    settings = load_settings()
    session = TritonSession(settings)
    try:
        results = list(verify_models(settings, session, names))
    finally:
        session.close()
    for result in results:
        say(f"{result.name}: {result.problem or f'ok, {result.figure}'}")
    sys.exit(1 if any(result.problem for result in results) else 0)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def models_list(as_json: bool) -> None:
    """Show every model of the repository."""
    from embedder_assets.serving.models.build import inspect_models

    settings = load_settings()
    states = list(inspect_models(settings.model_repository, device=settings.device))
    if as_json:
        say_json(json.dumps([state.as_row() for state in states], ensure_ascii=False, indent=2))
    else:
        display.show_models(states)


@models.command("tune")
@click.argument("names", nargs=-1, metavar="[NAME]...", callback=distinct)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=4.0, help="Of each measurement; 4 by default.")
@click.option("--write", is_flag=True, help="Write what is the fastest into the model's description.")
def models_tune(names: tuple[str, ...], seconds: float, write: bool) -> None:
    """Measure in which precision and with how many worker threads every model (or those named) is fastest here."""
    from embedder_assets.serving.models.description import list_descriptions
    from embedder_assets.serving.tune import tune_model, write_tuning

    settings = load_settings()
    for description in list_descriptions(settings.model_repository, names):
        name = description.name
        tuned = tune_model(settings, name, seconds, say)
        if write and tuned.best != tuned.configured:
            write_tuning(settings.model_repository / name, tuned.best, settings.device)
        display.show_tuned(tuned, written=write)


@models.command("compare")
@click.argument("current")
@click.argument("candidate")
@click.option("--collection", required=True, metavar="NAME", help="A collection with judged queries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def models_compare(current: str, candidate: str, collection: str, as_json: bool) -> None:
    """Try CANDIDATE in place of CURRENT on judged queries; the tables stay as they are."""
    from embedder_assets.evaluation.model_comparison import ModelComparison
    from embedder_assets.run_context import Pipeline
    from embedder_assets.serving.models.configured import require_models
    from embedder_assets.serving.models.description import list_descriptions
    from embedder_assets.tables.transaction import run_exclusively
    from embedder_assets.telemetry.stage_record import StageMeter

    settings = load_settings()
    require_models(settings)
    list_descriptions(settings.model_repository, [current, candidate])
    with display.progress() as report:
        pipeline = Pipeline(settings, report)
        try:
            meter = StageMeter("dense", [collection], report=report)

            found = run_exclusively(
                pipeline.store,
                [collection],
                lambda tables: ModelComparison(tables, pipeline.triton, settings, meter).compare(
                    current, candidate, collection
                ),
            )
        finally:
            pipeline.close()
    if as_json:
        say_json(json.dumps(asdict(found), ensure_ascii=False, indent=2))
    else:
        display.show_comparison(found)
