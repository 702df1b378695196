"""How the ``embedder`` command shows things to people. Results go to standard output, progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from embedder_assets.corpus.document import NOTICES, worst_first
from embedder_assets.errors import TableError
from embedder_assets.sanitize import plain
from embedder_assets.settings import variable_of
from embedder_assets.terminal import console, highlighted, say, say_lines, say_table, styled

if TYPE_CHECKING:
    from embedder_assets.cli.doctor_storage import Diagnosis
    from embedder_assets.evaluation.baseline import Baseline
    from embedder_assets.evaluation.model_comparison import Comparison
    from embedder_assets.retrieval.search import Hit
    from embedder_assets.retrieval.weights_in_use import StageWeights
    from embedder_assets.run import RunOutcome
    from embedder_assets.run_context import Pipeline
    from embedder_assets.serving.models.add import AddedModel
    from embedder_assets.serving.models.build import ModelState
    from embedder_assets.serving.models.remove import RemovedModel
    from embedder_assets.serving.tune import TuneResult
    from embedder_assets.tables.history import Version
    from embedder_assets.tables.store import TableStore
    from embedder_assets.telemetry.stage_record import ProgressReport

BYTES_PER_MIB = 2**20
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
FIELDS_SHOWN = 12
# Characters of a value of a document's metadata.
VALUE_SHOWN = 60
DAMAGED = "damaged"


@contextmanager
def progress() -> Iterator[ProgressReport]:
    """A progress bar per stage and collection on standard error, and the present step; gone when the context ends."""
    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pages]}"), TimeElapsedColumn())
    # The stream of now: while steps run, another one stands in its place.
    stderr = console(sys.stderr)
    # Each refresh is half a percent of a core; where nobody sees them, there are none.
    bars = Progress(*columns, console=stderr, transient=True, refresh_per_second=5, disable=not stderr.is_terminal)
    step = bars.add_task("starting", total=None, pages="")
    tasks: dict[tuple[str, str], TaskID] = {}

    def report(stage: str, collection: str, done: int, total: int, pages: int = 0) -> None:
        if not total:
            if not done:
                bars.reset(step, description=f"{stage} {plain(collection)}")
            bars.update(step, completed=done)
            return
        key = (stage, collection)
        if key not in tasks:
            tasks[key] = bars.add_task(plain(f"{stage:<7} {collection}"), total=total, pages="")
        bars.update(tasks[key], completed=done, total=total, pages=f"{pages} pages" if pages else "")

    # Not as a context: an interrupt of its own start would leave it drawing below what is said then.
    try:
        bars.start()
        yield report
    finally:
        bars.stop()


def show_outcome(outcome: RunOutcome, pipeline: Pipeline) -> None:
    """The result of a run: rows per table, what went wrong, where things are, and the footer last."""
    store = pipeline.store
    rows = [[name, *(_count(store, each, name) for each in TABLES)] for name in outcome.collections]
    say_table(["rows in", *TABLES.values()], rows)
    _show_quality(outcome, pipeline)
    show_fields(store, outcome.collections, most=FIELDS_SHOWN)
    for name in outcome.collections:
        if _count(store, "document_issues", name) == DAMAGED:
            continue
        issues = store.read("document_issues", name)
        for row in worst_first(issues).head(ISSUES_SHOWN).iter_rows(named=True):
            _note(NOTICES.get(row["kind"], "left out"), f"{name}/{row['path']}: {row['message']}")
        if issues.height > ISSUES_SHOWN:
            say(f"… and {issues.height - ISSUES_SHOWN} more, in the table document_issues")
        _show_failures(store, name)
        if _count(store, "documents", name) == "0":
            _note("warning", f"collection '{name}' holds no document that can be used")
    for warning in outcome.warnings:
        _note("warning", warning)
    for problem in outcome.problems:
        _note("failed", problem, "red")
    home, delivered = pipeline.settings.home, pipeline.settings.exports_url
    say(f"Tables:   {pipeline.store.storage}")
    say(f"Exports:  {home / 'exports'}{f' and {delivered}' if delivered else ''}")
    say(f"Manifest: {home / 'runs' / 'latest.json'}")
    if outcome.success:
        say('Next:     `embedder search "a question"`, or `make up` for the Dagster UI')
    for footer in outcome.footers:
        say_lines(footer)


def show_fields(store: TableStore, collections: Sequence[str], most: int | None = None) -> None:
    """The fields of the documents' metadata; nothing where there are more than ``most`` of them."""
    known = [name for name in collections if _count(store, "metadata_fields", name) not in ("0", DAMAGED)]
    rows = [row for name in known for row in store.read("metadata_fields", name).sort("field").rows()]
    if rows and (most is None or len(rows) <= most):
        say_table(["collection", "field", "type", "documents", "conflicts"], [[*map(str, row)] for row in rows])


def _note(word: str, sentence: str, colour: str = "yellow") -> None:
    say(styled(word, colour), f" {sentence}")


def _show_failures(store: TableStore, collection: str) -> None:
    """The chunks and queries on which a model failed."""
    if _count(store, "inference_issues", collection) in ("0", DAMAGED):
        return
    failures = store.read("inference_issues", collection).sort("model", "chunk_id", "query_id")
    for row in failures.head(ISSUES_SHOWN).iter_rows(named=True):
        text = f"query {row['query_id']}" if row["query_id"] else f"chunk {row['chunk_id']}"
        _note("not computed", f"{collection}: {text} by {row['model']}: {row['message']}")
    if failures.height > ISSUES_SHOWN:
        say(f"… and {failures.height - ISSUES_SHOWN} more, in the table inference_issues")


def _show_quality(outcome: RunOutcome, pipeline: Pipeline) -> None:
    """nDCG@10 of each ranking, one line per collection that has judged queries."""
    from embedder_assets.evaluation.evaluate import EvaluateStage
    from embedder_assets.evaluation.results import NDCG, RANKINGS, latest_result

    rows = []
    for now in EvaluateStage(pipeline.store, pipeline.settings).all_current(outcome.collections):
        cells = [f"{now.ndcg(name):.4f}" if name in now.rankings else "-" for name in RANKINGS]
        baseline = latest_result(pipeline.store, "quality_baselines", now.collection)
        rows.append([now.collection, *cells, f"{baseline.ndcg(baseline.final):.4f}" if baseline else "none"])
    if rows:
        say_table([f"{NDCG} in", *RANKINGS, "baseline"], rows)


def _count(store: TableStore, table: str, collection: str) -> str:
    try:
        return str(store.count(table, collection))
    except TableError:
        return DAMAGED


def show_hits(hits: Sequence[Hit], query: str) -> None:
    """Search results with the words of the query highlighted."""
    from embedder_assets.retrieval.snippet import query_words

    words = set(query_words(query))
    for hit in hits:
        place = f"{hit.collection}/{hit.doc_id}" + (f"  {hit.heading}" if hit.heading else "")
        say(styled(f"{hit.rank}. {place}", "bold"))
        ranks = f"dense {hit.dense_rank or '-'}, sparse {hit.sparse_rank or '-'}, fused {hit.fused_rank}"
        place = f"{_pages(hit)}characters {hit.start}-{hit.end}"
        say(styled(f"   score {hit.score:.3f} ({ranks}), {place}", "dim"))
        if hit.metadata:
            fields = ", ".join(f"{name}: {_shown(value)}" for name, value in hit.metadata.items())
            say(styled(f"   {fields}", "dim"))
        say("   ", highlighted(hit.snippet, words, "bold cyan"))
        if hit.near_duplicates:
            documents = "document" if hit.near_duplicates == 1 else "documents"
            say(styled(f"   and {hit.near_duplicates} near-equal {documents}; --all shows them", "dim"))
        say()
    if not hits:
        say("nothing found")


def _shown(value: object) -> str:
    """A value of a document's metadata: JSON where it is no text, and at most so many characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}…"


def _pages(hit: Hit) -> str:
    if hit.page is None:
        return ""
    return f"page {hit.page}, " if hit.page == hit.last_page else f"pages {hit.page}-{hit.last_page}, "


def show_baselines(baselines: Sequence[Baseline]) -> None:
    """Accepted results, each next to the one that it replaces, and who accepted them."""
    from embedder_assets.evaluation.results import MEASURES

    rows = []
    for baseline in baselines:
        result, previous = baseline.result, baseline.previous
        for ranking, values in result.by_ranking().items():
            was = previous.by_ranking().get(ranking, {}) if previous else {}
            cells = [f"{values[name]:.4f}" + (f" (was {was[name]:.4f})" if was else "") for name in MEASURES]
            rows.append([result.collection, ranking, *cells])
    say_table(["collection", "ranking", *MEASURES], rows)
    for baseline in baselines:
        result, note = baseline.result, f": {baseline.note}" if baseline.note else ""
        by = f"accepted {result.at:%Y-%m-%d %H:%M} UTC by {baseline.accepted_by}{note}"
        say(f"{result.collection}: {by}")
        say(f"  over {result.queries} judged queries, with {result.model_list}")


def show_weights(weights: Sequence[StageWeights]) -> None:
    """The weights of the rankings and their nDCG@10, a line per collection and stage that learns some."""
    from embedder_assets.evaluation.results import NDCG

    if not weights:
        say("no collection has been materialized yet; `embedder run` fills the tables and learns weights")
        return
    rows = []
    for each in weights:
        values = ", ".join(f"{name} {value:.3f}" for name, value in each.weights.items()) or "-"
        figures = ["-" if ndcg is None else f"{ndcg:.4f}" for ndcg in (each.default_ndcg, each.learned_ndcg)]
        rows.append([each.collection, each.stage, *figures, values, each.source])
    say_table([f"{NDCG} in", "stage", "default", "learned", "weights", "source"], rows)


def show_models(states: Sequence[ModelState]) -> None:
    """The model repository as a table."""
    rows = [state.as_row() for state in states]
    shown = ["name", "stage", "fingerprint", "precision", "size", "source", "license", "state"]
    for row in rows:
        row["size"] = f"{row['size_bytes'] / BYTES_PER_MIB:.1f} MiB"
    say_table(shown, [[str(row[column]) for column in shown] for row in rows])


def show_tuned(tuned: TuneResult, *, written: bool) -> None:
    """What was measured of a model, and what follows from it."""
    rates = ", ".join(f"{tuning} {rate:.1f}" for tuning, rate in tuned.rates.items())
    if tuned.best == tuned.configured:
        said = f"{tuned.configured} as configured, nothing is faster by enough"
    elif not written:
        said = f"{tuned.best} instead of {tuned.configured}: run it again with --write"
    elif tuned.best.precision != tuned.configured.precision:
        said = f"{tuned.best} from the next `embedder models build` on; the next run computes all vectors anew"
    else:
        said = f"{tuned.best} from now on, before {tuned.configured}; restart a server that runs"
    say(f"{tuned.name}: texts/s: {rates}; {said}")


def show_versions(versions: Sequence[Version]) -> None:
    """The history of tables, one line per commit."""
    if not versions:
        say("no table has been written yet; `embedder run` fills them")
        return
    columns = ["table", "version", "time (UTC)", "operation", "collection", "rows added", "rows removed"]
    rows = []
    for each in versions:
        counts = ("" if count is None else str(count) for count in (each.added, each.removed))
        named = (each.table, str(each.version), f"{each.at:%Y-%m-%d %H:%M:%S}", each.operation, each.collection or "")
        rows.append([*named, *counts])
    say_table(columns, rows)


def show_comparison(comparison: Comparison) -> None:
    """What a candidate model changes on a collection's judged queries."""
    current, candidate = comparison.models
    rows = []
    for row in comparison.differences:
        change = row.candidate - row.current
        figures = [f"{row.current:.4f}", f"{row.candidate:.4f}", f"{change:+.4f}", f"{row.p_value:.3f}"]
        rows.append([row.ranking, row.measure, *figures, str(row.better), str(row.worse)])
    say_table(["ranking", "measure", current, candidate, "difference", "p", "better", "worse"], rows)
    marks = ", ".join(f"{name} {mark}" for name, mark in zip(comparison.models, comparison.fingerprints, strict=True))
    say(f"{comparison.collection}: {comparison.queries} judged queries; {marks}")
    variable = variable_of(comparison.setting)
    say(f"Nothing was published. {variable}={candidate} makes runs use the candidate.")


def show_added(added: AddedModel) -> None:
    """What `embedder models add` wrote, and what to do next."""
    model = added.description
    texts = f"{model.max_tokens} tokens, dimension {model.dimension}, pooling {model.pooling}"
    say(f"{added.path}: {texts}, licence {model.license}")
    for note in added.notes:
        _note("note", note)
    commands = f"`embedder models build {model.name}`, then `embedder models verify {model.name}`"
    say(f"Next: {commands}; {added.setting}={model.name} makes runs use it.")


def show_removed(removed: RemovedModel) -> None:
    """What went with a model, what stays, and what its rows come to."""
    say(f"{removed.folder}: removed {', '.join(removed.files)}")
    if removed.kept:
        say(f"Left there, since they are not of the model: {', '.join(removed.kept)}")
    say("Its rows stay in the tables until the next run; a server that has loaded it keeps it until it ends.")


def show_diagnoses(findings: Sequence[Diagnosis]) -> None:
    """What the doctor found."""
    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        remedy = f". {finding.remedy}" if finding.remedy else ""
        _note(f"{finding.level:<8}", f"{finding.thing}: {finding.found}{remedy}", colours[finding.level])
