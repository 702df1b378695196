"""Lexical vectors over the sparse model's vocabulary: what stands in while that model fails.

A term's weight in a passage is log(1 + tf), the saturation that SPLADE puts on its own weights (Formal, Piwowarski and
Clinchant, "SPLADE: Sparse Lexical and Expansion Model for First Stage Ranking", SIGIR 2021), without its expansion. In
a query it is tf times the inverse document frequency of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009), because nothing has learnt which words matter. Both share the indices of the model,
so a lexical query finds the model's rows, and the model's query finds lexical rows.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from embedder_assets.embedding.keys import KEY, MODEL_KEY, ModelVersion, is_of
from embedder_assets.embedding.passage import PASSAGE, passages
from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.description import load_description
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import DigestRange, digest_ranges, input_digest
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

TABLE = "sparse_embeddings"
# Source of lexical rows, and what they have in the place of a model's name.
LEXICAL = "lexical_fallback"
# Raise it when the weights change: lexical rows are then made anew.
LEXICAL_VERSION = "1"


def lexical_model(settings: Settings) -> ModelVersion | None:
    """Name and fingerprint of lexical rows over the configured model's vocabulary.

    None where none may count (the stage or its fallback is off) and where the model folder has no tokenizer.
    """
    if not (settings.enable_sparse and "sparse" in settings.fallback and _tokenizer_file(settings).is_file()):
        return None
    digest = hashlib.sha256(_tokenizer_file(settings).read_bytes()).hexdigest()
    return ModelVersion(LEXICAL, input_digest([LEXICAL_VERSION, digest, str(_pairs_kept(settings))])[:16])


class LexicalEncoder:
    """Turns texts into lexical vectors by the tokenizer of the configured sparse model.

    Raises:
        ModelBuildError: The tokenizer is missing or unreadable.
    """

    def __init__(self, settings: Settings) -> None:
        from tokenizers import Tokenizer

        file, model = _tokenizer_file(settings), lexical_model(settings)
        try:
            self._tokenizer = Tokenizer.from_buffer(file.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(file, str(error)) from error
        if model is None:
            raise _unreadable(file, "a setting that forbids lexical vectors")
        # A passage is never longer than what the dense models read; every word of it counts.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        unknown = self._tokenizer.token_to_id(getattr(self._tokenizer.model, "unk_token", None) or "")
        self._special = {unknown, *(index for index, token in added.items() if token.special)}
        self._kept = _pairs_kept(settings)
        self.model = model

    def passages(self, texts: Sequence[str]) -> pl.DataFrame:
        """The columns ``indices``, ``values`` and ``source`` of passages, the largest weight first.

        As many pairs are kept as the model makes; of equal weights those of the smaller indices.
        """
        best = [
            sorted(count.items(), key=lambda term: (-term[1], term[0]))[: self._kept] for count in self._count(texts)
        ]
        schema = {name: SCHEMAS[TABLE][name] for name in ("indices", "values")}
        indices = [[index for index, _ in terms] for terms in best]
        values = [np.log1p([count for _, count in terms]).tolist() for terms in best]
        return pl.DataFrame({"indices": indices, "values": values}, schema=schema).with_columns(source=pl.lit(LEXICAL))

    def queries(self, texts: Sequence[str], passages: Iterable[csr_array]) -> csr_array:
        """Vectors of queries, float32 [texts, vocabulary]; terms that no passage has cannot match and are left out.

        Args:
            texts: The queries.
            passages: Sparse vectors of all passages in blocks, each of [passages, vocabulary].
        """
        from scipy.sparse import csr_array

        idf = inverse_document_frequency(passages)
        counts = [{index: n for index, n in count.items() if index < len(idf)} for count in self._count(texts)]
        indices = np.array([index for count in counts for index in count], np.int32)
        frequency = np.array([n for count in counts for n in count.values()], np.float32)
        starts = np.concatenate([[0], np.cumsum([len(count) for count in counts], dtype=np.int64)])
        weights = frequency * idf[indices]
        return csr_array((weights.astype(np.float32), indices, starts), shape=(len(texts), len(idf)))

    def _count(self, texts: Sequence[str]) -> Iterator[Counter[int]]:
        """How often each vocabulary entry is in each text; special tokens say nothing about a text."""
        for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False):
            yield Counter(index for index in encoding.ids if index not in self._special)


def inverse_document_frequency(passages: Iterable[csr_array]) -> NDArray[np.float64]:
    """ln(1 + (N - n + 0.5) / (n + 0.5)) of each of the vocabulary's entries, where n of the N passages have it.

    Args:
        passages: In blocks, [passages, vocabulary], each as wide as its largest entry asks for.
    """
    having, count = np.zeros(1, np.int64), 0
    for block in passages:
        found = np.bincount(block.indices[block.data > 0], minlength=max(len(having), block.shape[1]))
        having = found + np.pad(having, (0, len(found) - len(having)))
        count += block.shape[0]
    idf: NDArray[np.float64] = np.log1p((count - having + 0.5) / (having + 0.5))
    return idf


@dataclass(frozen=True)
class LexicalOutcome:
    """What a collection's rows are after the model failed.

    Attributes:
        rows: Rows that count: the model's, and lexical ones.
        lexical: How many of them are lexical.
        models: Who made them: name to fingerprint.
        coverage: Share of the chunks that have a row of the model, 1.0 when there are no chunks.
    """

    rows: int
    lexical: int
    models: dict[str, str]
    coverage: float


def write_lexical_rows(store: TableStore, settings: Settings, model: ModelVersion, collection: str) -> LexicalOutcome:
    """Gives a lexical row to each chunk without a row of the sparse model, in one commit.

    Rows of gone chunks and lexical rows that are not needed go in the same commit. Those of another model stay, so that
    going back to it costs nothing: the run in which the configured model works removes them.

    Args:
        store: The tables.
        settings: The resolved settings.
        model: The sparse model that failed.
        collection: The collection.

    Raises:
        ModelBuildError: The tokenizer is missing or unreadable.
    """
    encoder = LexicalEncoder(settings)
    parts = digest_ranges(store.count("chunks", collection))
    look = functools.partial(_look, store, collection, model, encoder.model)
    stale, chunks, wanted = [], 0, 0
    for part in parts:
        found = look(part)
        stale.append(found.stale)
        chunks, wanted = chunks + found.chunks, wanted + found.wanted
    store.delete_and_insert(
        TABLE, collection, (_rows(store, encoder, collection, look(part)) for part in parts), pl.concat(stale)
    )
    covered = chunks - wanted
    return LexicalOutcome(
        rows=chunks,
        lexical=wanted,
        models=dict([*([model] if covered else []), encoder.model]),
        coverage=covered / chunks if chunks else 1.0,
    )


@dataclass(frozen=True)
class _Found:
    """A range of a collection: how many chunks it has and how many want a lexical row, and what has to change."""

    part: DigestRange
    chunks: int
    wanted: int
    missing: pl.DataFrame
    stale: pl.DataFrame


def _look(store: TableStore, collection: str, model: ModelVersion, stand_in: ModelVersion, part: DigestRange) -> _Found:
    chunks = store.read("chunks", collection, KEY, where=part.rows)
    present = store.read(TABLE, collection, MODEL_KEY, where=part.rows)
    wanted = chunks.join(present.filter(is_of(model)), on=KEY, how="anti")
    lexical = present.filter(pl.col("model") == LEXICAL)
    of_wanted = lexical.filter(is_of(stand_in)).join(wanted, on=KEY, how="semi")
    gone = present.join(chunks, on=KEY, how="anti")
    stale = pl.concat([gone, lexical.join(of_wanted, on=MODEL_KEY, how="anti")]).unique()
    return _Found(part, chunks.height, wanted.height, wanted.join(of_wanted, on=KEY, how="anti"), stale)


def _rows(store: TableStore, encoder: LexicalEncoder, collection: str, found: _Found) -> pl.DataFrame:
    """The lexical rows that a range misses."""
    texts = store.read("chunks", collection, [*KEY, *PASSAGE], where=found.part.rows)
    missing = texts.join(found.missing, on=KEY, how="semi")
    return missing.select(
        *KEY,
        collection=pl.lit(collection),
        model=pl.lit(encoder.model.name),
        model_fingerprint=pl.lit(encoder.model.fingerprint),
    ).hstack(encoder.passages(passages(missing, context=False).to_list()))


def _tokenizer_file(settings: Settings) -> Path:
    return settings.model_repository / settings.sparse_model / "tokenizer.json"


def _pairs_kept(settings: Settings) -> int:
    return load_description(settings.model_repository / settings.sparse_model).dimension


def _unreadable(file: Path, got: str) -> ModelBuildError:
    return ModelBuildError(
        str(file),
        expected="the sparse model's tokenizer, for lexical vectors in its place",
        got=got,
        remedy=f"Run `embedder models build {file.parent.name}`, or set EMBEDDER_ENABLE_SPARSE=false.",
    )
