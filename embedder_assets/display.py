"""How the ``embedder`` command shows things to people. Results go to standard output, progress to standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from embedder_assets.errors import TableError
from embedder_assets.settings import ENV_PREFIX

if TYPE_CHECKING:
    from embedder_assets.doctor import Finding
    from embedder_assets.launch import RunOutcome
    from embedder_assets.pipeline import Pipeline
    from embedder_assets.serving.add import AddedModel
    from embedder_assets.serving.build import ModelState
    from embedder_assets.serving.tune import Tuned
    from embedder_assets.stages.baseline import Baseline
    from embedder_assets.stages.compare import Comparison
    from embedder_assets.stages.search import Hit
    from embedder_assets.tables.history import Version
    from embedder_assets.tables.store import TableStore
    from embedder_assets.telemetry.record import ProgressReport

TABLES = {
    "documents": "documents",
    "chunks": "chunks",
    "dense_embeddings": "dense",
    "sparse_embeddings": "sparse",
    "queries": "queries",
    "fused_candidates": "fused",
    "reranked_candidates": "reranked",
}
ISSUES_SHOWN = 10
DAMAGED = "damaged"
# A terminal obeys these, and documents, their names and their rows are written by others.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# A file or a pipe has no width: nothing that a script reads is cut.
out = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 160)


def escape(text: str) -> str:
    """A text as it is, whatever it says: without a meaning as markup or to the terminal."""
    return markup.escape(_STEERING.sub("\ufffd", text))


@contextmanager
def progress() -> Iterator[ProgressReport]:
    """A progress bar per stage and collection on standard error, and the present step; gone when the context ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # The stream of now: while steps run, another one stands in its place.
    console = Console(file=sys.stderr)
    # Each refresh is half a percent of a core; where nobody sees them, there are none.
    bars = Progress(*columns, console=console, transient=True, refresh_per_second=5, disable=not console.is_terminal)
    step = bars.add_task("starting", total=None)
    tasks: dict[tuple[str, str], TaskID] = {}

    def report(stage: str, collection: str, done: int, total: int) -> None:
        if not total:
            if not done:
                bars.reset(step, description=f"{stage} {escape(collection)}")
            bars.update(step, completed=done)
            return
        key = (stage, collection)
        if key not in tasks:
            tasks[key] = bars.add_task(f"{stage:<7} {escape(collection)}", total=total)
        bars.update(tasks[key], completed=done, total=total)

    with bars:
        yield report


def show_outcome(outcome: RunOutcome, pipeline: Pipeline) -> None:
    """The result of a run: rows a table, what went wrong, where things are, and the footer last."""
    store = pipeline.store
    table = Table(Column("rows in", overflow="fold"), *TABLES.values())
    for name in outcome.collections:
        table.add_row(escape(name), *(_count(store, each, name) for each in TABLES))
    out.print(table)
    _show_quality(outcome, pipeline)
    for name in outcome.collections:
        if _count(store, "document_issues", name) == DAMAGED:
            continue
        issues = store.read("document_issues", name)
        for row in issues.head(ISSUES_SHOWN).iter_rows(named=True):
            out.print(f"[yellow]left out[/] {escape(name)}/{escape(row['path'])}: {escape(row['message'])}")
        if issues.height > ISSUES_SHOWN:
            out.print(f"… and {issues.height - ISSUES_SHOWN} more, in the table document_issues")
        _show_failures(store, name)
        if _count(store, "documents", name) == "0":
            out.print(f"[yellow]warning[/] collection '{escape(name)}' holds no document that can be used")
    for warning in outcome.warnings:
        out.print(f"[yellow]warning[/] {escape(warning)}")
    for problem in outcome.problems:
        out.print(f"[red]failed[/] {escape(problem)}")
    home, delivered = pipeline.settings.home, pipeline.settings.exports_url
    out.print(
        f"Tables:   {pipeline.store.place}\nExports:  {home / 'exports'}{f' and {delivered}' if delivered else ''}\n"
        f"Manifest: {home / 'runs' / 'latest.json'}"
    )
    if outcome.success:
        out.print('Next:     `embedder search "a question"`, or `make up` for the Dagster UI')
    for footer in outcome.footers:
        out.print(escape(footer))


def _show_failures(store: TableStore, collection: str) -> None:
    """The chunks and queries on which a model failed."""
    if _count(store, "inference_issues", collection) in ("0", DAMAGED):
        return
    failures = store.read("inference_issues", collection).sort("model", "chunk_id", "query_id")
    for row in failures.head(ISSUES_SHOWN).iter_rows(named=True):
        text = f"query {row['query_id']}" if row["query_id"] else f"chunk {row['chunk_id']}"
        what = f"{collection}: {text} by {row['model']}: {row['message']}"
        out.print(f"[yellow]not computed[/] {escape(what)}")
    if failures.height > ISSUES_SHOWN:
        out.print(f"… and {failures.height - ISSUES_SHOWN} more, in the table inference_issues")


def _show_quality(outcome: RunOutcome, pipeline: Pipeline) -> None:
    """nDCG@10 of each ranking, one line a collection that brings judged queries."""
    from embedder_assets.stages.evaluate import EvaluateStage
    from embedder_assets.stages.quality import NDCG, RANKINGS, newest_figures

    table = Table(Column(f"{NDCG} in", overflow="fold"), *RANKINGS, "baseline")
    for now in EvaluateStage(pipeline.store, pipeline.settings).all_current(outcome.collections):
        cells = [f"{now.ndcg(name):.4f}" if name in now.rankings else "-" for name in RANKINGS]
        baseline = newest_figures(pipeline.store, "quality_baselines", now.collection)
        table.add_row(escape(now.collection), *cells, f"{baseline.ndcg(baseline.final):.4f}" if baseline else "none")
    if table.row_count:
        out.print(table)


def _count(store: TableStore, table: str, collection: str) -> str:
    try:
        return str(store.count(table, collection))
    except TableError:
        return DAMAGED


def warn(sentence: str) -> None:
    """A warning on standard error, away from what a script reads."""
    print(f"warning: {sentence}", file=sys.stderr)


def show_hits(hits: Sequence[Hit], query: str) -> None:
    """Search results with the words of the query highlighted."""
    from embedder_assets.stages.search import query_words

    for hit in hits:
        place = f"{hit.collection}/{hit.doc_id}" + (f"  {hit.heading}" if hit.heading else "")
        out.print(f"[bold]{hit.rank}. {escape(place)}[/]")
        ranks = f"dense {hit.dense_rank or '-'}, sparse {hit.sparse_rank or '-'}, fused {hit.fused_rank}"
        out.print(f"   [dim]score {hit.score:.3f} ({ranks}), characters {hit.start}-{hit.end}[/]")
        out.print(f"   {_highlighted(hit.snippet, set(query_words(query)))}\n")
    if not hits:
        out.print("nothing found")


def show_baselines(baselines: Sequence[Baseline]) -> None:
    """Accepted figures, each beside the one that it replaces, and who accepted them."""
    from embedder_assets.stages.quality import MEASURES

    table = Table(Column("collection", overflow="fold"), "ranking", *MEASURES)
    for baseline in baselines:
        figures, former = baseline.figures, baseline.former
        for ranking, values in figures.by_ranking().items():
            was = former.by_ranking().get(ranking, {}) if former else {}
            cells = [f"{values[name]:.4f}" + (f" (was {was[name]:.4f})" if was else "") for name in MEASURES]
            table.add_row(escape(figures.collection), ranking, *cells)
    out.print(table)
    for baseline in baselines:
        figures, note = baseline.figures, f": {baseline.note}" if baseline.note else ""
        by = f"accepted {figures.at:%Y-%m-%d %H:%M} UTC by {baseline.accepted_by}{note}"
        out.print(
            escape(f"{figures.collection}: {by}\n  over {figures.queries} judged queries, with {figures.models_named}")
        )


def show_models(states: Sequence[ModelState]) -> None:
    """The model repository as a table."""
    rows = [state.as_row() for state in states]
    shown = ["name", "stage", "fingerprint", "precision", "size", "source", "license", "state"]
    table = Table(*(Column(name, overflow="fold") for name in shown))
    for row in rows:
        row["size"] = f"{row['size_bytes'] / 2**20:.1f} MiB"
        table.add_row(*(escape(str(row[column])) for column in shown))
    out.print(table)


def show_tuned(tuned: Tuned, *, written: bool) -> None:
    """What was measured of a model, and what follows from it."""
    rates = ", ".join(f"{threads}: {rate:.1f}" for threads, rate in tuned.rates.items())
    if tuned.best == tuned.configured:
        said = f"{tuned.configured} as configured, nothing is faster by enough"
    elif written:
        said = f"{tuned.best} from now on, before {tuned.configured}; restart a server that runs"
    else:
        said = f"{tuned.best} instead of {tuned.configured}: run it again with --write"
    out.print(f"{escape(tuned.name)}: texts/s by worker threads {rates}; {said}", soft_wrap=True)


def show_versions(versions: Sequence[Version]) -> None:
    """The history of tables, a commit a line."""
    table = Table("table", "version", "time (UTC)", "operation", "collection", "rows added", "rows removed")
    for each in versions:
        counts = ("" if count is None else str(count) for count in (each.added, each.removed))
        named = (each.table, str(each.version), f"{each.at:%Y-%m-%d %H:%M:%S}", each.operation, each.collection or "")
        table.add_row(*map(escape, (*named, *counts)))
    out.print(table)


def show_comparison(comparison: Comparison) -> None:
    """What a candidate model changes on a collection's judged queries."""
    former, candidate = comparison.models
    table = Table("ranking", "measure", former, candidate, "difference", "p", "better", "worse")
    for row in comparison.differences:
        change = row.candidate - row.former
        figures = [f"{row.former:.4f}", f"{row.candidate:.4f}", f"{change:+.4f}", f"{row.p_value:.3f}"]
        table.add_row(row.ranking, row.measure, *figures, str(row.better), str(row.worse))
    out.print(table)
    marks = ", ".join(f"{name} {mark}" for name, mark in zip(comparison.models, comparison.fingerprints, strict=True))
    out.print(escape(f"{comparison.collection}: {comparison.queries} judged queries; {marks}"), soft_wrap=True)
    variable = ENV_PREFIX + comparison.setting.upper()
    out.print(f"Nothing was published. {variable}={candidate} makes runs use the candidate.", soft_wrap=True)


def show_added(added: AddedModel) -> None:
    """What `embedder models add` wrote, and what to do next."""
    model = added.description
    texts = f"{model.max_tokens} tokens, dimension {model.dimension}, pooling {model.pooling}"
    out.print(f"{escape(str(added.path))}: {texts}, licence {escape(model.license)}")
    for note in added.notes:
        out.print(f"[yellow]note[/] {escape(note)}")
    commands = f"`embedder models build {model.name}`, then `embedder models verify {model.name}`"
    out.print(f"Next: {commands}; {added.setting}={model.name} makes runs use it.", soft_wrap=True)


def show_findings(findings: Sequence[Finding]) -> None:
    """What the doctor found."""
    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        line = f"[{colours[finding.level]}]{finding.level:<8}[/] {escape(finding.thing)}: {escape(finding.found)}"
        out.print(f"{line}{'. ' + escape(finding.remedy) if finding.remedy else ''}")


def _highlighted(snippet: str, words: set[str]) -> str:
    parts = re.split(r"(\w{3,})", snippet)
    return "".join(f"[bold cyan]{escape(part)}[/]" if part.lower() in words else escape(part) for part in parts)
