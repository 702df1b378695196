"""Blocking asset checks from rules: one Dagster op an asset, every rule a check of its own."""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from embedder_assets.assets.superseded import superseded
from embedder_assets.checks.verdict import Note, Rule, Worry
from embedder_assets.errors import EmbedderError
from embedder_assets.partitions import collections_of_run
from embedder_assets.pipeline import Pipeline

OFF = "the stage is off, its table was not touched"


def blocking_checks(asset: str, rules: Sequence[Rule], toggle: str | None = None) -> dg.AssetChecksDefinition:
    """Checks of an asset that ask each rule about each collection of the run.

    Args:
        asset: Name of the asset.
        rules: What must hold; a check has the name and the docstring of its rule.
        toggle: The setting that switches the asset's stage off, if there is one. No rule is asked then.
    """
    specs = [dg.AssetCheckSpec(rule.__name__, asset=asset, description=rule.__doc__, blocking=True) for rule in rules]

    @dg.multi_asset_check(name=f"check_{asset}", specs=specs)
    def check(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        names = collections_of_run(context.instance, context.run)
        off = toggle is not None and not getattr(pipeline.settings, toggle)
        for rule in rules:
            run = context.instance, context.run.run_id
            verdicts = {} if off else {name: _asked(rule, pipeline, name, *run) for name in names}
            notes = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Note)}
            problems = {name: verdict for name, verdict in verdicts.items() if verdict and name not in notes}
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=rule.__name__,
                passed=not problems,
                severity=_severity(problems.values()),
                description="\n".join(f"{name}: {words}" for name, words in (problems or notes).items())
                or (OFF if off else None),
                metadata={"collections": names, **problems, **notes},
            )

    return check


def _severity(problems: Collection[str]) -> dg.AssetCheckSeverity:
    """A failed check blocks what follows, unless nothing in it makes the results wrong."""
    only_worries = problems and all(isinstance(each, Worry) for each in problems)
    return dg.AssetCheckSeverity.WARN if only_worries else dg.AssetCheckSeverity.ERROR


def _asked(rule: Rule, pipeline: Pipeline, collection: str, instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The verdict of a rule; our own errors come out as failures that are shown as one sentence, cause left out.

    What is wrong with a collection that another run has changed meanwhile is for the checks of that one to judge.
    """
    try:
        verdict, error = rule(pipeline, collection), None
    except EmbedderError as raised:
        verdict, error = str(raised), raised
    if verdict is None or isinstance(verdict, Note | Worry):
        return verdict
    if (words := superseded(pipeline, instance, run_id, collection)) is not None:
        return Worry(f"{words}. Found meanwhile: {verdict}")
    if error is not None:
        raise dg.Failure(f"collection '{collection}': {error}", allow_retries=False) from error
    return verdict
