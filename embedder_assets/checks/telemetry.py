"""The checks of `processing_summary`: what a run says of itself has happened."""

import functools
from collections.abc import Iterator, Sequence

import dagster as dg

from embedder_assets.assets.processing_summary import manifest_file
from embedder_assets.checks import proof
from embedder_assets.checks.blocking import check_result, evaluate_rule
from embedder_assets.checks.finding import Finding
from embedder_assets.checks.proof import Proof, ProofRule
from embedder_assets.partitions import collections_of_run
from embedder_assets.run_context import Pipeline
from embedder_assets.telemetry.event_log import records_of_run
from embedder_assets.telemetry.manifest.file import read_manifest_file
from embedder_assets.telemetry.spans import read_spans

ASSET = "processing_summary"
RULES: Sequence[ProofRule] = [
    proof.spans_follow_stages,
    proof.metrics_were_scraped,
    proof.gpu_within_soft_limit,
    proof.manifest_follows_toggles,
    proof.footer_says_what_the_manifest_says,
    proof.leases_are_complete,
    proof.telemetry_is_documented,
]


@dg.multi_asset_check(
    name=f"check_{ASSET}",
    # A warning does not block; what fails in earnest fails the run.
    specs=[dg.AssetCheckSpec(rule.__name__, asset=ASSET, description=rule.__doc__, blocking=True) for rule in RULES],
)
def telemetry_checks(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> Iterator[dg.AssetCheckResult]:
    """Compares spans, metrics, manifest and footer of the run with its records.

    A proof is of a run, and so of each collection of it: the next proved run over a collection clears it.
    """
    left_behind = functools.cache(lambda: _left_behind(context.instance, pipeline, context.run.run_id))
    names = collections_of_run(context.instance, context.run)
    for rule in RULES:
        finding = evaluate_rule(lambda rule=rule: _finding(rule, left_behind()), context)  # type: ignore[misc]
        check = dg.AssetCheckKey(dg.AssetKey(ASSET), rule.__name__)
        yield check_result(context, check, dict.fromkeys(names, finding), named=False)


def _finding(rule: ProofRule, left: Proof | None) -> Finding | None:
    return rule(left) if left else Finding("note", "this run has written no summary")


def _left_behind(instance: dg.DagsterInstance, pipeline: Pipeline, run_id: str) -> Proof | None:
    file = manifest_file(pipeline, run_id)
    if not file.exists():
        return None
    return Proof(
        settings=pipeline.settings,
        run_id=run_id,
        records={record.stage: record for record in records_of_run(instance, run_id)},
        spans=read_spans(file.parent / "spans.jsonl"),
        manifest=read_manifest_file(file),
        footer=_shown_footer(instance, run_id),
    )


def _shown_footer(instance: dg.DagsterInstance, run_id: str) -> str:
    """The footer as the run's materialization of the summary keeps it."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.dagster_event
        if event and event.asset_key == dg.AssetKey(ASSET):
            text = event.step_materialization_data.materialization.metadata["footer"].value
            return str(text).removeprefix("```\n").removesuffix("\n```")
    return ""
