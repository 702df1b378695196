"""Blocking asset checks from rules: one Dagster op an asset, every rule a check of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg

from embedder_assets.assets.support.superseded import superseded
from embedder_assets.checks.verdict import Note, Rule, Worry
from embedder_assets.errors import EmbedderError
from embedder_assets.partitions import collections_of_run, other_collections
from embedder_assets.plain import inert_markdown, one_line
from embedder_assets.run_context import Pipeline
from embedder_assets.telemetry.verdicts import (
    DUE_SINCE_KEY,
    EARLIER_KEY,
    VERDICTS_KEY,
    Verdict,
    as_metadata,
    earlier_failures,
)

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
            said = {name: Note(OFF) if off else _asked(rule, pipeline, name, context) for name in names}
            yield evaluated(context, dg.AssetCheckKey(dg.AssetKey(asset), rule.__name__), said, named=not off)

    return check


def evaluated(
    context: dg.AssetCheckExecutionContext,
    check: dg.AssetCheckKey,
    said: Mapping[str, str | None],
    *,
    named: bool = True,
) -> dg.AssetCheckResult:
    """The result of a check: a verdict on each collection of the run, and what it still has against others.

    What failed in an earlier run, over collections that are not of this one, does not block this run. It still shows:
    Dagster has one newest evaluation of a check, and a collection that is well must not cover one that is not.

    Args:
        context: Of the op that asks.
        check: The check.
        said: Collection of the run to what the rule has said of it.
        named: Whether the words differ by collection, so that they are shown with its name.
    """
    verdicts = {name: _verdict(words) for name, words in said.items()}
    others = other_collections(context.instance, context.run)
    earlier, due_since = earlier_failures(context.instance, check, others, context.run.run_id)
    failed = {name: each for name, each in verdicts.items() if not each.passed}
    shown = failed or ({} if earlier else verdicts)
    lines = [f"{name}: {each.words}" if named else each.words for name, each in shown.items() if each.words]
    lines += [f"{name}, in an earlier run: {each.words}" for name, each in earlier.items()]
    blocks = any(each.severity == "error" for each in failed.values())
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=not failed and not earlier,
        severity=dg.AssetCheckSeverity.ERROR if blocks or not (failed or earlier) else dg.AssetCheckSeverity.WARN,
        description=inert_markdown("\n".join(dict.fromkeys(map(one_line, lines)))) or None,
        metadata={
            VERDICTS_KEY: as_metadata(verdicts),
            **({EARLIER_KEY: as_metadata(earlier)} if earlier else {}),
            **({DUE_SINCE_KEY: due_since} if due_since is not None else {}),
        },
    )


def answer(ask: Callable[[], str | None], context: dg.AssetCheckExecutionContext) -> str | None:
    """What a rule says. One that could not be asked has failed, or an earlier word would stand as the newest."""
    try:
        return ask()
    except EmbedderError as error:
        return str(error)
    except Exception as error:
        words = f"it could not be asked: {type(error).__name__}: {error}"
        context.log.exception(one_line(words))
        return words


def _verdict(words: str | None) -> Verdict:
    """A failed check blocks what follows, unless what it says does not make the results wrong."""
    passed = not words or isinstance(words, Note)
    return Verdict(
        passed=passed,
        severity="warn" if isinstance(words, Worry) else "error",
        words=str(words) if words else None,
    )


def _asked(rule: Rule, pipeline: Pipeline, collection: str, context: dg.AssetCheckExecutionContext) -> str | None:
    """The verdict of a rule.

    What is wrong with a collection that another run has changed meanwhile is for the checks of that one to judge.
    """
    verdict = answer(lambda: rule(pipeline, collection), context)
    if verdict is None or isinstance(verdict, Note | Worry):
        return verdict
    if (words := superseded(pipeline, context.instance, context.run.run_id, collection)) is not None:
        return Worry(f"{words}. Found meanwhile: {verdict}")
    return verdict
