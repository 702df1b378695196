"""Blocking asset checks from rules: one Dagster op per asset, every rule a check of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg

from embedder_assets.assets.support.superseded import version_tracker
from embedder_assets.checks.finding import Finding, Rule
from embedder_assets.errors import EmbedderError
from embedder_assets.partitions import collections_of_run, other_collections
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import inert_markdown, one_line
from embedder_assets.telemetry.check_results import (
    DUE_SINCE_KEY,
    EARLIER_KEY,
    RESULTS_KEY,
    CollectionResult,
    as_metadata,
    earlier_failures,
)

STAGE_OFF = Finding("note", "the stage is off, its table was not touched")


def blocking_checks(asset: str, rules: Sequence[Rule], toggle: str | None = None) -> dg.AssetChecksDefinition:
    """Checks of an asset that apply each rule to each collection of the run.

    Args:
        asset: Name of the asset.
        rules: What must hold; a check has the name and the docstring of its rule.
        toggle: The setting that switches the asset's stage off, if there is one. No rule is applied then.
    """
    specs = [dg.AssetCheckSpec(rule.__name__, asset=asset, description=rule.__doc__, blocking=True) for rule in rules]

    @dg.multi_asset_check(name=f"check_{asset}", specs=specs)
    def check(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        names = collections_of_run(context.instance, context.run)
        off = toggle is not None and not getattr(pipeline.settings, toggle)
        for rule in rules:
            findings = {name: STAGE_OFF if off else _finding(rule, pipeline, name, context) for name in names}
            yield check_result(context, dg.AssetCheckKey(dg.AssetKey(asset), rule.__name__), findings, named=not off)

    return check


def check_result(
    context: dg.AssetCheckExecutionContext,
    check: dg.AssetCheckKey,
    findings: Mapping[str, Finding | None],
    *,
    named: bool = True,
) -> dg.AssetCheckResult:
    """The result of a check: one for each collection of the run, and what has failed for others.

    What failed in an earlier run, over collections that are not of this one, does not block this run. It still shows:
    Dagster has one latest evaluation of a check, and a collection that passes must not cover one that does not.

    Args:
        context: Of the op that checks.
        check: The check.
        findings: What the rule has found for each collection of the run.
        named: Whether the texts differ by collection, so that they are shown with its name.
    """
    results = {name: _collection_result(finding) for name, finding in findings.items()}
    others = other_collections(context.instance, context.run)
    earlier, due_since = earlier_failures(context.instance, check, others, context.run.run_id)
    failed = {name: each for name, each in results.items() if not each.passed}
    shown = failed or ({} if earlier else results)
    described = {name: each.description for name, each in shown.items() if each.description}
    lines = [f"{name}: {text}" if named else text for name, text in described.items()]
    lines += [f"{name}, in an earlier run: {each.description}" for name, each in earlier.items()]
    blocks = any(each.severity == "error" for each in failed.values())
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=not failed and not earlier,
        severity=dg.AssetCheckSeverity.ERROR if blocks or not (failed or earlier) else dg.AssetCheckSeverity.WARN,
        description=inert_markdown("\n".join(dict.fromkeys(map(one_line, lines)))) or None,
        metadata={
            RESULTS_KEY: as_metadata(results),
            **({EARLIER_KEY: as_metadata(earlier)} if earlier else {}),
            **({DUE_SINCE_KEY: due_since} if due_since is not None else {}),
        },
    )


def evaluate_rule(rule: Callable[[], Finding | None], context: dg.AssetCheckExecutionContext) -> Finding | None:
    """What a rule finds. One that raises has failed, or an earlier result would stand as the latest."""
    try:
        return rule()
    except EmbedderError as error:
        return Finding("error", str(error))
    except Exception as error:
        text = f"the check could not be evaluated: {type(error).__name__}: {error}"
        context.log.exception(one_line(text))
        return Finding("error", text)


def _collection_result(finding: Finding | None) -> CollectionResult:
    if finding is None:
        return CollectionResult(passed=True)
    return CollectionResult(
        passed=finding.level == "note",
        severity="warn" if finding.level == "warning" else "error",
        description=finding.text,
    )


def _finding(rule: Rule, pipeline: Pipeline, collection: str, context: dg.AssetCheckExecutionContext) -> Finding | None:
    """What a rule finds.

    An error in a collection that another run has changed meanwhile is for the checks of that run to report.
    """
    found = evaluate_rule(lambda: rule(pipeline, collection), context)
    if found is None or found.level != "error":
        return found
    tracker = version_tracker(pipeline, context.instance, context.run.run_id)
    if (reason := tracker.change_by_others(pipeline.store, collection)) is not None:
        return Finding("warning", f"{reason}. Found meanwhile: {found.text}")
    return found
