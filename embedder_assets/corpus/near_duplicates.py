"""Finds documents of a collection that say nearly the same: the table ``near_duplicates``. Nothing is deleted.

The similarity of two documents is the share of the three-word sequences of both that they have in common (Jaccard), as
their MinHash signatures estimate it; locality-sensitive hashing finds the pairs to compare (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). A signature depends on the text alone, so an unchanged
document is not looked at again, and the groups depend on the documents alone, not on the order in which they came.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

DOCUMENTS, NEAR_DUPLICATES = "documents", "near_duplicates"
# Raise it when the signature of a text changes; rensa changes its own between versions of its algorithm.
SIGNING_VERSION = "1"
WORDS_PER_SHINGLE = 3
# Pages with another date or footer and editions of a manual are above it, pages that share their legal notice below.
MIN_SIMILARITY = 0.7
SIGNATURE_LENGTH = 128
# 25 bands of 5 values: of two documents with a similarity of 0.7 at least 99 % are compared, at 0.3 it is 6 %.
BANDS, ROWS_PER_BAND = 25, 5
KEY = ["doc_id", "content_sha256", "signing"]
_SEED = 1
_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Texts that are looked at together; a vocabulary is kept for so many.
_TEXTS_PER_BATCH = 256
_PIECE_CHARACTERS, _MOST_WORDS = 1_000_000, 500_000

Signatures = npt.NDArray[np.uint32]  # [documents, SIGNATURE_LENGTH]


@dataclass(frozen=True)
class NearDuplicateOutcome:
    """What is known of the documents of a collection now.

    Attributes:
        signed: Documents whose signature was computed.
        groups: Groups of at least two documents.
        duplicates: Documents of these groups, without the first of each.
    """

    signed: int
    groups: int
    duplicates: int


def update_near_duplicates(store: TableStore, collection: str) -> NearDuplicateOutcome:
    """Makes the rows of a collection those of its present documents; writes nothing where they are.

    Memory: some hundred bytes per document, and the signature of each that may be a near-duplicate.
    """
    documents = _wanted(store.read(DOCUMENTS, collection, ["doc_id", "content_sha256"]))
    known = store.read(NEAR_DUPLICATES, collection, KEY)
    missing, stale = documents.join(known, on=KEY, how="anti"), known.join(documents, on=KEY, how="anti")
    if missing.height or stale.height:
        store.delete_and_insert(NEAR_DUPLICATES, collection, _signed(store, collection, missing), stale)
    groups = store.read(NEAR_DUPLICATES, collection, ["doc_id", "representative"])
    lost = (
        groups.filter(pl.col("representative").is_null()).height
        or not groups["representative"].is_in(groups["doc_id"].implode()).all()
    )
    if missing.height or stale.height or lost:
        _regroup(store, collection)
        groups = store.read(NEAR_DUPLICATES, collection, ["doc_id", "representative"])
    copies = groups.filter(pl.col("representative") != pl.col("doc_id"))
    return NearDuplicateOutcome(missing.height, copies["representative"].n_unique(), copies.height)


def count_duplicates(store: TableStore, collection: str) -> int:
    """The documents that say nearly what another one says, without the first of each group."""
    rows = store.read(NEAR_DUPLICATES, collection, ["doc_id", "representative"])
    return rows.filter(pl.col("representative") != pl.col("doc_id")).height


def group_members(store: TableStore, collection: str) -> pl.DataFrame:
    """The documents that have near-duplicates: columns doc_id, representative."""
    rows = store.read(NEAR_DUPLICATES, collection, ["doc_id", "representative"])
    copied = rows.filter(pl.col("representative") != pl.col("doc_id"))["representative"].unique()
    return rows.filter(pl.col("representative").is_in(copied.implode()))


def signatures(texts: list[str]) -> Signatures:
    """The MinHash signature of each text. Case and punctuation do not count; a text without words is all zeros."""
    from rensa import RMinHash

    vocabulary = _Vocabulary()
    shingles = [_shingles(text, vocabulary) for text in texts]
    ends = np.cumsum([0, *(each.size for each in shingles)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(shingles), ends, SIGNATURE_LENGTH, _SEED)
    found = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), SIGNATURE_LENGTH)
    found[[not each.size for each in shingles]] = 0
    return found


def _signing() -> str:
    from rensa import RMinHash

    return f"{SIGNING_VERSION}/{RMinHash.ALGORITHM_VERSION}"


def _wanted(documents: pl.DataFrame) -> pl.DataFrame:
    return documents.with_columns(signing=pl.lit(_signing()))


class _Vocabulary(dict[str, int]):
    """Word to a hash of 64 bits, the same in each process."""

    def __missing__(self, word: str) -> int:
        found = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = found
        return found


def _shingles(text: str, vocabulary: _Vocabulary) -> npt.NDArray[np.uint64]:
    """A hash of each sequence of words; of a text that is shorter than one, of the whole text."""
    folded = text.casefold()
    pieces = [np.zeros(0, np.uint64)]
    # Piece by piece: the words of a text of 20 million characters are half a gigabyte.
    for start in range(0, len(folded), _PIECE_CHARACTERS):
        found = [vocabulary[word] for word in _WORD.findall(folded, start, start + _PIECE_CHARACTERS)]
        pieces.append(np.array(found, dtype=np.uint64))
        if len(vocabulary) > _MOST_WORDS:
            vocabulary.clear()
    words = np.concatenate(pieces)
    length = min(WORDS_PER_SHINGLE, words.size)
    count = words.size - length + 1 if length else 0
    shingles = np.zeros(count, dtype=np.uint64)
    for at in range(length):
        shingles = (shingles ^ words[at : at + count]) * _MULTIPLIER
        shingles ^= shingles >> np.uint64(29)
    return shingles


def _signed(store: TableStore, collection: str, missing: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows without a group for documents that have none."""
    if not missing.height:
        return
    wanted = pl.col("content_sha256").is_in(missing["content_sha256"].unique().implode())
    for frame in store.batches(DOCUMENTS, collection, ["collection", "doc_id", "content_sha256", "text"], where=wanted):
        rows = _wanted(frame).join(missing, on=KEY, how="semi", maintain_order="left")
        for some in rows.iter_slices(_TEXTS_PER_BATCH):
            values = [row.astype("<u4").tobytes() for row in signatures(some["text"].to_list())]
            yield (
                some.drop("text")
                .with_columns(
                    representative=pl.lit(None, pl.String),
                    similarity=pl.lit(None, pl.Float64),
                    signature=pl.Series(values, dtype=pl.Binary),
                )
                .select(list(SCHEMAS[NEAR_DUPLICATES]))
            )


def _regroup(store: TableStore, collection: str) -> None:
    """Writes the rows whose group is another one."""
    earlier = store.read(NEAR_DUPLICATES, collection, ["doc_id", "representative", "similarity"]).sort("doc_id")
    grouped = _groups(store, collection, earlier["doc_id"])
    changed = grouped.join(earlier, on=grouped.columns, how="anti", nulls_equal=True)
    if not changed.height:
        return
    frames = (
        frame.drop("representative", "similarity").join(changed, on="doc_id").select(list(SCHEMAS[NEAR_DUPLICATES]))
        for frame in store.batches(NEAR_DUPLICATES, collection)
    )
    store.delete_and_insert(NEAR_DUPLICATES, collection, frames, changed.select("doc_id"))


def _groups(store: TableStore, collection: str, doc_ids: pl.Series) -> pl.DataFrame:
    """Columns doc_id, representative, similarity of documents, which are sorted.

    A document joins the most similar of the representatives before it, or becomes one: no group is a chain whose ends
    have nothing in common.
    """
    positions = pl.DataFrame({"doc_id": doc_ids}).with_row_index("position")
    suspects = _suspects(store, collection, positions)
    representatives = np.arange(len(doc_ids))
    similarities = np.ones(len(doc_ids))
    known: dict[tuple[int, int], list[int]] = defaultdict(list)
    bands = _bands(suspects.signatures)
    for row, (at, signature) in enumerate(zip(suspects.positions, suspects.signatures, strict=True)):
        buckets = list(enumerate(bands[row].tolist()))
        near = sorted({each for bucket in buckets for each in known.get(bucket, ())})
        estimates = (suspects.signatures[near] == signature).mean(axis=1)
        if near and estimates.max() >= MIN_SIMILARITY:
            representatives[at] = suspects.positions[near[int(estimates.argmax())]]
            similarities[at] = estimates.max()
            continue
        for bucket in buckets:
            known[bucket].append(row)
    return pl.DataFrame({"doc_id": doc_ids, "representative": doc_ids[representatives], "similarity": similarities})


@dataclass(frozen=True)
class _Suspects:
    """The documents that share a band with another one, in order: positions and signatures."""

    positions: npt.NDArray[np.int64]
    signatures: Signatures


def _suspects(store: TableStore, collection: str, positions: pl.DataFrame) -> _Suspects:
    bands = np.zeros((positions.height, BANDS), dtype=np.uint32)
    for at, found in _batches(store, collection, positions):
        bands[at] = _bands(found)
    suspected = np.zeros(positions.height, dtype=bool)
    for band in bands.T:
        _, inverse, counts = np.unique(band, return_inverse=True, return_counts=True)
        # A text without words is like no other.
        suspected |= (counts[inverse] > 1) & (band != 0)
    places = np.flatnonzero(suspected)
    kept = np.zeros((places.size, SIGNATURE_LENGTH), dtype=np.uint32)
    for at, found in _batches(store, collection, positions):
        wanted = suspected[at]
        kept[np.searchsorted(places, at[wanted])] = found[wanted]
    return _Suspects(places, kept)


def _batches(
    store: TableStore, collection: str, positions: pl.DataFrame
) -> Iterator[tuple[npt.NDArray[np.int64], Signatures]]:
    """Positions and signatures of the documents, a file of the table at a time."""
    for frame in store.batches(NEAR_DUPLICATES, collection, ["doc_id", "signature"]):
        rows = frame.join(positions, on="doc_id", maintain_order="left")
        found = np.frombuffer(b"".join(rows["signature"]), dtype="<u4").reshape(-1, SIGNATURE_LENGTH)
        yield rows["position"].cast(pl.Int64).to_numpy(), found


def _bands(found: Signatures) -> npt.NDArray[np.uint32]:
    """A hash of each band of signatures, [documents, BANDS]; 0 where all values of the band are 0."""
    values = found[:, : BANDS * ROWS_PER_BAND].reshape(-1, BANDS, ROWS_PER_BAND).astype(np.uint64)
    hashes = np.zeros(values.shape[:2], dtype=np.uint64)
    for at in range(ROWS_PER_BAND):
        hashes = (hashes ^ values[:, :, at]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return (hashes >> np.uint64(32)).astype(np.uint32)
