"""Whether the models can read the texts: warnings, because the rankings are still what the models make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from embedder_assets.checks.finding import Finding, Rule
from embedder_assets.embedding.tokenization import chunk_sample, chunk_tokenization, query_sample, tokenization
from embedder_assets.run_context import Pipeline
from embedder_assets.settings import Settings
from embedder_assets.telemetry.stage_record import Tokenization

# English and code have less than 0.01, another script has more than 0.5.
MOST_UNREAD = 0.1
# One text of twenty: a chunk that loses its last words is still found by the others.
MOST_TRUNCATED = 0.05


def model_reads_text_of(models_of: Callable[[Settings], Sequence[str]]) -> Rule:
    """The rule ``model_reads_text`` of an embedding table.

    Args:
        models_of: The models of the table.
    """

    def model_reads_text(pipeline: Pipeline, collection: str) -> Finding | None:
        """The vocabulary of each model knows the chunks' words, and no chunk is longer than the model reads."""
        chunks = chunk_sample(pipeline.store, collection)
        models = models_of(pipeline.settings) if chunks.height else ()
        return _finding({model: chunk_tokenization(pipeline.triton, model, chunks) for model in models}, "chunks")

    return model_reads_text


def models_read_queries(pipeline: Pipeline, collection: str) -> Finding | None:
    """The vocabulary of each model knows the words of the queries."""
    sparse = [pipeline.settings.sparse_model] if pipeline.settings.enable_sparse else []
    models = [*pipeline.settings.dense_models, *sparse]
    texts = [(text,) for text in query_sample(pipeline.store, collection)]
    asked = models if texts else ()
    return _finding({model: tokenization(pipeline.triton, model, texts, "query") for model in asked}, "queries")


def _finding(found: Mapping[str, Tokenization | None], what: str) -> Finding | None:
    problems = [problem for model, read in found.items() if read for problem in _problems(model, read, what)]
    unknown = [
        f"model '{model}': not known, the model repository has no tokenizer of it"
        for model, read in found.items()
        if read is None
    ]
    notes = "; ".join([*problems, *unknown])
    return Finding("warning" if problems else "note", notes) if notes else None


def _problems(model: str, read: Tokenization, what: str) -> Iterator[str]:
    unread = read.unknown + read.spelled_out
    if unread >= MOST_UNREAD:
        yield (
            f"{_percent(unread)} of the tokens of the {what} are unknown to model '{model}', or single letters of "
            f"words that are; it cannot read {_percent(read.unreadable)} of the {what}: it was not made for this script"
        )
    if read.truncated >= MOST_TRUNCATED:
        yield f"{_percent(read.truncated)} of the {what} are longer than model '{model}' reads, and are cut there"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
