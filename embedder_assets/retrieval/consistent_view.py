"""What a reader can search of a collection at any moment: rows of the tables that belong together.

A run commits the chunks of a collection first and their vectors later, hours later for a large one, or never if it is
killed. Until then the newest rows are incomplete. A reader then goes back to the newest versions of the tables that are
complete together; the history of the tables says which may be, since a commit of vectors names the version of the
chunks that it was made from. Where no earlier state can be read, it takes the chunks that have all their vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from embedder_assets.embedding.failures import TABLE as ISSUES
from embedder_assets.embedding.failures import known_failures
from embedder_assets.embedding.keys import KEY, ModelVersion, is_of
from embedder_assets.errors import IncompleteTableError, StorageError, TableError
from embedder_assets.retrieval.exact_index import ChunkIndex, DenseBlock, SparseVectors
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.retrieval.hnsw_index import HnswIndex, HnswIndexStage, usable_index
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import digest_ranges
from embedder_assets.tables.history import Commit, commits_of
from embedder_assets.tables.store import TableStore

State = Literal["newest", "earlier", "partial"]
Versions = Mapping[str, int | None]
DOCUMENTS, CHUNKS, DENSE, SPARSE = "documents", "chunks", "dense_embeddings", "sparse_embeddings"
# How many changes of the chunks a search goes back at most: each look reads the keys of a collection.
MAX_CHANGES_BACK = 50


@dataclass(frozen=True)
class CollectionView:
    """The rows of one collection that a search answers from.

    Attributes:
        name: Of the collection.
        chunks: The collection's chunks, as in their table.
        dense: For each dense model the blocks of its vectors.
        sparse: The same of the sparse rows; None where that stage is off.
        tables: What they were read from.
        state: ``newest``; ``earlier`` where the newest rows are incomplete; ``partial`` where chunks are left out.
        note: A sentence that says why, where it is not the newest state.
    """

    name: str
    chunks: pl.DataFrame
    dense: list[list[DenseBlock]]
    sparse: list[SparseVectors] | None
    tables: TableStore
    state: State = "newest"
    note: str | None = None

    def with_note(self, state: State, words: str) -> CollectionView:
        """The same, which is not the newest state, with a sentence about it."""
        note = f"collection '{self.name}' is being updated, or its last run did not end: it is {words}"
        return replace(self, state=state, note=f"{note}. `embedder run` updates it.")


def consistent_view(store: TableStore, settings: Settings, models: RetrievalModels, collection: str) -> CollectionView:
    """The newest rows of a collection that belong together.

    Args:
        store: The tables.
        settings: The resolved settings.
        models: Whose vectors are searched.
        collection: Name of the collection.

    Raises:
        IncompleteTableError: No chunk has all its vectors.
        StorageError: The object store cannot be reached.
        TableError: The newest rows cannot be read, nor can earlier ones.
    """
    reader = _Reader(settings, models, collection)
    try:
        return reader.load(store.as_of({}))
    except StorageError:
        raise
    except TableError as error:
        problem = error
    # Somebody may have committed between the looks at two tables, or removed old files.
    newest = store.as_of({})
    with suppress(TableError):
        return reader.load(newest)
    for versions, commit in earlier_states(store, collection):
        with suppress(TableError):
            state = store.as_of(versions)
            if not reader.missing(state).height:
                return reader.load(state).with_note(
                    "earlier", f"searched as it was at {commit.at:%Y-%m-%d %H:%M:%S} UTC"
                )
    if not isinstance(problem, IncompleteTableError):
        raise problem
    missing, total = reader.missing(newest), newest.count(CHUNKS, collection)
    if missing.height >= total:
        raise problem
    words = f"searched without {missing.height} of its {total} chunks, which have no vectors yet"
    return reader.load(newest, missing).with_note("partial", words)


def earlier_states(store: TableStore, collection: str) -> Iterator[tuple[Versions, Commit]]:
    """The versions of the tables that may be complete together, the newest first, with the commit of their chunks.

    For each change of the chunks these are the vectors as they were before the next change of the chunks. Which
    version of the chunks vectors were made from is in their commit; a commit that does not say so, as that of
    ``embedder tables restore``, may fit any.
    """
    changes = {table: commits_of(store, table, collection) for table in (CHUNKS, DENSE, SPARSE)}
    following: int | None = None
    for commit in changes[CHUNKS][:MAX_CHANGES_BACK]:
        dense, sparse = (_made_before(changes[table], following) for table in (DENSE, SPARSE))
        for pair in itertools.product(dense, sparse):
            issues = [made.made_from[ISSUES] for made in pair if made and ISSUES in made.made_from]
            cut_from = {name: version for name, version in commit.made_from.items() if name == DOCUMENTS}
            yield (
                {
                    **cut_from,
                    CHUNKS: commit.until,
                    **{table: made.until if made else None for table, made in zip((DENSE, SPARSE), pair, strict=True)},
                    ISSUES: max(issues, default=None),
                },
                commit,
            )
        following = commit.version


def needed_versions(store: TableStore) -> dict[str, set[int]]:
    """Table to the versions whose files a search still needs, because newest rows of a collection are incomplete."""
    needed: dict[str, set[int]] = {}
    for collection in store.collections(CHUNKS):
        for tables in ((DENSE,), (DENSE, SPARSE)):
            if _covered(store.as_of({}), collection, tables):
                continue
            for versions, _ in earlier_states(store, collection):
                with suppress(TableError):
                    if _covered(store.as_of(versions), collection, tables):
                        for table, version in versions.items():
                            needed.setdefault(table, set()).update([] if version is None else [version])
                        break
    return needed


def _made_before(changes: Sequence[Commit], following: int | None) -> Sequence[Commit | None]:
    """The newest commit of vectors that names chunks before a version, and the newest that names none."""
    named = (each for each in changes if CHUNKS in each.made_from)
    fitting = next((each for each in named if following is None or each.made_from[CHUNKS] < following), None)
    unnamed = next((each for each in changes if CHUNKS not in each.made_from), None)
    return [each for each in (fitting, unnamed) if each is not None] or [None]


@dataclass(frozen=True)
class _Reader:
    """Reads a collection at some versions of the tables."""

    settings: Settings
    models: RetrievalModels
    collection: str

    def load(self, store: TableStore, excluded: pl.DataFrame | None = None) -> CollectionView:
        """In memory, but for the dense vectors of a collection that is searched by its approximate index.

        Args:
            store: The tables.
            excluded: The keys of chunks that are not searched.

        Raises:
            IncompleteTableError: Another chunk has no vector of a model.
        """
        chunks = store.read(CHUNKS, self.collection)
        approximate = excluded is None and HnswIndexStage(store, self.settings).is_enabled_for(self.collection)
        dense: list[list[DenseBlock]] = []
        for model in self.models.dense:
            index = self._index(store, model, chunks) if approximate else None
            exact = ChunkIndex.of_tables(store, [self.collection], [model], [], excluded)
            dense.append([index] if index is not None else list(exact.dense[0]))
        rest = ChunkIndex.of_tables(store, [self.collection], [], self.models.sparse_sources, excluded)
        sparse = None if rest.sparse is None else list(rest.sparse)
        return CollectionView(self.collection, chunks, dense, sparse, store)

    def missing(self, store: TableStore) -> pl.DataFrame:
        """The keys of the chunks that lack a vector of some model which is not known to fail on them."""
        frames = [_missing(store, self.collection, DENSE, [model]) for model in self.models.dense]
        if self.models.sparse_sources:
            frames.append(_missing(store, self.collection, SPARSE, self.models.sparse_sources))
        return pl.concat(frames).unique()

    def _index(self, store: TableStore, model: ModelVersion, chunks: pl.DataFrame) -> HnswIndex | None:
        """The index of a model, if it holds exactly these chunks: it follows the vectors, which may be of others."""
        index = usable_index(store, self.collection, model)
        if index is None or index.chunks.join(chunks, on=KEY, how="anti").height:
            return None
        return None if _missing(store, self.collection, DENSE, [model]).height else index


def _missing(store: TableStore, collection: str, table: str, models: Sequence[ModelVersion]) -> pl.DataFrame:
    failures = known_failures(store, collection, models[0])
    any_model = pl.any_horizontal([is_of(model) for model in models])
    found = [failures.select(KEY).clear()]
    for part in digest_ranges(store.count(CHUNKS, collection)):
        chunks = store.read(CHUNKS, collection, KEY, where=part.rows)
        rows = store.read(table, collection, KEY, where=any_model & part.rows)
        found.append(chunks.join(rows, on=KEY, how="anti").join(failures, on=KEY, how="anti"))
    return pl.concat(found)


def _covered(store: TableStore, collection: str, tables: Sequence[str]) -> bool:
    """Whether all chunks have rows of one and the same model in some tables, whichever that is; lexical ones count."""
    failures = store.read(ISSUES, collection, KEY).drop_nulls()
    for part in digest_ranges(store.count(CHUNKS, collection)):
        chunks = store.read(CHUNKS, collection, KEY, where=part.rows).join(failures, on=KEY, how="anti")
        for table in tables:
            rows = store.read(table, collection, [*KEY, "model_fingerprint"], where=part.rows)
            by_model = rows.partition_by("model_fingerprint") if table == DENSE else [rows]
            if chunks.height and not any(not chunks.join(each, on=KEY, how="anti").height for each in by_model):
                return False
    return True
