"""``processing_summary``: the proof of a run — metrics scraped, spans written, the manifest, the footer."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from embedder_assets.assets.exports import exports
from embedder_assets.assets.support.materialize import collection_asset
from embedder_assets.assets.support.superseded import version_tracker
from embedder_assets.corpus.document import NOTICES
from embedder_assets.corpus.near_duplicates import count_duplicates
from embedder_assets.corpus.partial_documents import PARTIAL
from embedder_assets.errors import EmbedderError, TableError
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.export.export import export_folder, read_manifest
from embedder_assets.partitions import collections_of_run
from embedder_assets.retrieval.weights_in_use import weights_in_use
from embedder_assets.run_context import Pipeline
from embedder_assets.settings import Settings
from embedder_assets.telemetry.event_log import records_of_run
from embedder_assets.telemetry.exporter.collector import event_log_collector
from embedder_assets.telemetry.exporter.pushgateway import push
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.schema import FILE_NAME, Manifest
from embedder_assets.telemetry.manifest.summarize import RunFacts, stage_warnings, summarize_run
from embedder_assets.telemetry.run_failures import kept_events, problems
from embedder_assets.telemetry.stage_record import StageRecord, trace_id_of

# What rows of document_issues with these words (``NOTICES``) are, in the manifest's warnings.
_WORDS = {
    "partial": "parts of documents are not in their text, see document_issues",
    "metadata": "notices on metadata, see document_issues",
    "passed over": "formats that are not read, see document_issues",
}


@collection_asset(deps=[exports], group_name="delivery", kinds={"json"}, tags={"stage": "summary"})
def processing_summary(
    context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """What the run did and which of its metrics a scrape has shown; shows the footer."""
    return dg.MaterializeResult(metadata=summarize(pipeline, context.instance, context.run))


def summarize(pipeline: Pipeline, instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Any]:
    """Writes the manifest of a run that goes well, shows its footer, and returns what Dagster shows of them."""
    names = collections_of_run(instance, run)
    manifest = write_summary(pipeline, instance, run.run_id, names, succeeded=True)
    footer = render_footer(manifest)
    pipeline.show_footer(footer)
    return {
        **run_links(pipeline.settings, run.run_id, manifest_file(pipeline, run.run_id)),
        "status": manifest.status,
        "footer": dg.MetadataValue.md(f"```\n{footer}\n```"),
        "chunk_count": manifest.chunk_count,
        "summary": dg.MetadataValue.json(manifest.model_dump(mode="json", exclude_none=True)),
    }


def write_summary(
    pipeline: Pipeline, instance: dg.DagsterInstance, run_id: str, names: Sequence[str], *, succeeded: bool
) -> Manifest:
    """Writes the manifest of a run from the records that its stages left in the event log."""
    records = records_of_run(instance, run_id)
    warnings: list[str] = []
    issues = {name: issue_counts(pipeline, name, warnings) for name in names}
    failures = {name: _count(pipeline, "inference_issues", name, warnings) for name in names}
    left = version_tracker(pipeline, instance, run_id).left_to_others
    exported = any(record.stage == "export" and record.status == "ok" for record in records)
    facts = RunFacts(
        run_id=run_id,
        succeeded=succeeded,
        collections=list(names),
        chunk_count=sum(_count(pipeline, "chunks", name, warnings) for name in names),
        near_duplicates=_near_duplicates(pipeline, names),
        evaluation=_evaluation_facts(pipeline, names),
        ranking_weights=_weight_facts(pipeline, names),
        documents={name: counts for name in names if (counts := document_facts(pipeline, name))},
        exports={name: _export_facts(pipeline, name) for name in names if name not in left} if exported else {},
        warnings=[
            *(f"{name}: {words}" for name, words in left.items()),
            *stage_warnings(records),
            *(f"{name}: {count} {words}" for name, counts in issues.items() for words, count in counts.items()),
            *(
                f"{name}: {count} times a model fails on a text, see inference_issues"
                for name, count in failures.items()
                if count
            ),
            *warnings,
            *([] if succeeded else _unrecorded(instance, run_id, records)),
            *_push(pipeline, instance),
        ],
    )
    manifest, _ = summarize_run(pipeline.settings, records, facts)
    tag_run(instance, run_id, manifest_file(pipeline, run_id))
    return manifest


def _unrecorded(instance: dg.DagsterInstance, run_id: str, records: Sequence[StageRecord]) -> list[str]:
    """Why a run has failed whose records do not say so: a check, or a step that leaves no record."""
    if any(record.status == "failed" for record in records):
        return []
    return [f"failed: {problem}" for problem in problems(kept_events(instance, run_id))]


def _push(pipeline: Pipeline, instance: dg.DagsterInstance) -> list[str]:
    """Pushes the metrics over all runs where a Pushgateway is set; a failure is worth a warning and no more."""
    url = pipeline.settings.metrics_push_url
    problem = push(event_log_collector(instance), url) if url and pipeline.settings.metrics_enabled else None
    return [problem] if problem else []


def manifest_file(pipeline: Pipeline, run_id: str) -> Path:
    """Where the manifest of a run lies."""
    return pipeline.settings.home / "runs" / run_id / FILE_NAME


def _count(pipeline: Pipeline, table: str, collection: str, warnings: list[str]) -> int:
    """Rows of a table; a damaged one must not keep the summary of the failure from being written."""
    try:
        return pipeline.store.count(table, collection)
    except TableError as error:
        warnings.append(f"not counted: {error}")
        return 0


def issue_counts(pipeline: Pipeline, collection: str, warnings: list[str]) -> dict[str, int]:
    """How many rows of ``document_issues`` say what, in words."""
    try:
        kinds = pipeline.store.read("document_issues", collection, ["kind"])["kind"]
    except TableError as error:
        warnings.append(f"not counted: {error}")
        return {}
    return dict(Counter(_WORDS.get(NOTICES.get(kind, ""), "documents could not be used") for kind in kinds))


def document_facts(pipeline: Pipeline, collection: str) -> dict[str, int]:
    """What the manifest counts of the documents of a collection; nothing where a table is damaged."""
    store = pipeline.store
    try:
        fields = store.read("metadata_fields", collection, ["conflicts"])["conflicts"]
        partial = store.read("document_issues", collection, ["path"], where=pl.col("kind") == PARTIAL)["path"]
        labelled = store.read("documents", collection, ["collection"], where=pl.col("metadata") != "{}")
        return {
            "documents": store.count("documents", collection),
            "with_metadata": labelled.height,
            "fields": fields.len(),
            "conflicts": int(fields.sum()),
            "partial": partial.n_unique(),
        }
    except TableError:
        return {}


def _near_duplicates(pipeline: Pipeline, names: Sequence[str]) -> dict[str, int]:
    found = {}
    for name in names:
        with suppress(TableError):  # a damaged table is named where it is counted
            found[name] = count_duplicates(pipeline.store, name)
    return found


def _evaluation_facts(pipeline: Pipeline, names: Sequence[str]) -> dict[str, Any]:
    return {
        figures.collection: {
            "judged_queries": figures.queries,
            "input_digest": figures.input_digest,
            "rankings": figures.by_ranking(),
        }
        for figures in EvaluateStage(pipeline.store, pipeline.settings).all_current(names)
    }


def _weight_facts(pipeline: Pipeline, names: Sequence[str]) -> dict[str, Any]:
    """The weights in use; none where a table is damaged: that must not keep the summary from being written."""
    facts = {}
    for name in names:
        with suppress(EmbedderError):
            used = weights_in_use(pipeline.store, pipeline.settings, name)
            facts[name] = {
                each.stage: {key: value for key, value in asdict(each).items() if key not in ("collection", "stage")}
                for each in used
                if each.weights
            }
    return facts


def _export_facts(pipeline: Pipeline, collection: str) -> dict[str, Any]:
    manifest = read_manifest(export_folder(pipeline.settings.home, collection))
    return {"files": manifest["files"]} if manifest else {}


def run_links(settings: Settings, run_id: str, manifest: Path) -> dict[str, dg.MetadataValue]:
    """What Dagster shows as links in the metadata of the summary; addresses only where a setting has them."""
    trace_id = trace_id_of(run_id)
    # Not format(): the rest of the address may have braces of its own.
    links = {
        name: dg.MetadataValue.url(url.shareable.replace("{trace_id}", trace_id))
        for name, url in settings.links.items()
    }
    return {**links, "trace_id": dg.MetadataValue.text(trace_id), "manifest": dg.MetadataValue.path(manifest)}


def tag_run(instance: dg.DagsterInstance, run_id: str, manifest: Path) -> None:
    """Tags by which a run is found in the list of runs, and which its own page shows."""
    instance.add_run_tags(run_id, {"embedder/trace_id": trace_id_of(run_id), "embedder/manifest": str(manifest)})
