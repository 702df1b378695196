"""The columns of every table, with types and meanings. Others rely on these names: add, never rename."""

from __future__ import annotations

import polars as pl

Schema = dict[str, pl.DataType]

_TEXT = pl.String()
_COUNT = pl.Int64()
_REAL = pl.Float64()
_INSTANT = pl.Datetime("us", "UTC")
_EMBEDDING_KEY: Schema = {
    "collection": _TEXT,
    "chunk_id": _TEXT,
    "content_sha256": _TEXT,
    "model": _TEXT,
    "model_fingerprint": _TEXT,
}
_FIGURE: Schema = {
    "collection": _TEXT,
    "ranking": _TEXT,
    "measure": _TEXT,
    "value": _REAL,
    "queries": _COUNT,
}

SCHEMAS: dict[str, Schema] = {
    # One row per document; `text` is what was extracted, Markdown where the format has structure. `source_sha256` is
    # the digest of the bytes it was extracted from (a file, or a line of corpus.jsonl), `extraction` identifies how.
    # `metadata` is a JSON object: `source_metadata`, which is what the source says of itself, with what the collection
    # adds. `public` is whether all may see a document without an `acl`, `pages` has the character offset of each page,
    # `omissions` what the text lacks; `source` is the path of the file that it was in, `doc_id`, unless it
    # is an attachment of a mail or a row of JSON.
    "documents": {
        "collection": _TEXT,
        "doc_id": _TEXT,
        "title": _TEXT,
        "media_type": _TEXT,
        "size_bytes": _COUNT,
        "text": _TEXT,
        "content_sha256": _TEXT,
        "source_sha256": _TEXT,
        "extraction": _TEXT,
        "metadata": _TEXT,
        "source_metadata": _TEXT,
        "public": pl.Boolean(),
        "pages": pl.List(_COUNT),
        "omissions": pl.List(pl.Struct({"part": _TEXT, "count": _COUNT, "detail": _TEXT})),
        "source": _TEXT,
    },
    # One row per field of the metadata of a collection's documents. `type` is text, number, time, boolean or list;
    # `documents` have the field, `conflicts` of them with a value of another type.
    "metadata_fields": {
        "collection": _TEXT,
        "field": _TEXT,
        "type": _TEXT,
        "documents": _COUNT,
        "conflicts": _COUNT,
    },
    # One row per document, folder or row that could not be used, of kind `partial` one per part that is missing in the
    # text of a document, and one per thing that is worth a look: `part` is what, `count` how many. `first_seen` is when
    # it began; `source_sha256`, where the bytes could be read, and `extraction` tell whether another try makes sense.
    "document_issues": {
        "collection": _TEXT,
        "path": _TEXT,
        "kind": _TEXT,
        "message": _TEXT,
        "first_seen": _INSTANT,
        "source_sha256": _TEXT,
        "extraction": _TEXT,
        "part": _TEXT,
        "count": _COUNT,
    },
    # One row per document. `representative` is the first document, by doc_id, of those that say nearly the same, itself
    # where there is no other; `similarity`, from 0 to 1, is to that one. `signature` is a MinHash of the text, 128
    # little-endian words of 32 bits, `signing` identifies how it was made.
    "near_duplicates": {
        "collection": _TEXT,
        "doc_id": _TEXT,
        "content_sha256": _TEXT,
        "representative": _TEXT,
        "similarity": _REAL,
        "signing": _TEXT,
        "signature": pl.Binary(),
    },
    # `start` and `end` are character offsets into the document's text; `chunking` identifies how it was cut. `context`
    # is what a dense model may read in front of the text, `title` is the document's; both null where no model asks.
    # `table_header` is the header row of the table that the text continues, which all models read in front of it.
    # `page` and `last_page` are the pages, from 1, on which the chunk begins and ends; null for formats without pages.
    "chunks": {
        "collection": _TEXT,
        "doc_id": _TEXT,
        "chunk_id": _TEXT,
        "chunk_index": _COUNT,
        "text": _TEXT,
        "start": _COUNT,
        "end": _COUNT,
        "token_count": _COUNT,
        "heading": _TEXT,
        "content_sha256": _TEXT,
        "document_sha256": _TEXT,
        "chunking": _TEXT,
        "title": _TEXT,
        "context": _TEXT,
        "table_header": _TEXT,
        "page": _COUNT,
        "last_page": _COUNT,
    },
    # `embedding` has unit length.
    "dense_embeddings": {**_EMBEDDING_KEY, "embedding": pl.List(pl.Float32)},
    # Vocabulary indices and their weights, the largest first.
    "sparse_embeddings": {
        **_EMBEDDING_KEY,
        "indices": pl.List(pl.Int32),
        "values": pl.List(pl.Float32),
        "source": _TEXT,
    },
    # One row per text and model that failed although the text was alone in its request: a chunk's in the stages dense
    # and sparse, a query's in the stage fuse.
    "inference_issues": {
        "collection": _TEXT,
        "stage": _TEXT,
        "chunk_id": _TEXT,
        "content_sha256": _TEXT,
        "query_id": _TEXT,
        "model": _TEXT,
        "model_fingerprint": _TEXT,
        "message": _TEXT,
    },
    "queries": {"collection": _TEXT, "query_id": _TEXT, "text": _TEXT, "source": _TEXT},
    # One row per query and model, so that no query is computed twice; `content_sha256` is of the query's text. A dense
    # model's row has an `embedding` of unit length, the sparse model's row `indices` and `values`.
    "query_embeddings": {
        "collection": _TEXT,
        "query_id": _TEXT,
        "content_sha256": _TEXT,
        "model": _TEXT,
        "model_fingerprint": _TEXT,
        "embedding": pl.List(pl.Float32),
        "indices": pl.List(pl.Int32),
        "values": pl.List(pl.Float32),
    },
    # Ranks start at 1; a null rank means the ranking did not hold the chunk. `dense_rank` is the best of `dense_ranks`,
    # which has one entry per dense model, `dense_score` the mean of `dense_scores` (cosines); `sparse_score` is a dot
    # product. `input_digest` identifies everything the rows were computed from, so that an unchanged input is not
    # computed again.
    "fused_candidates": {
        "collection": _TEXT,
        "query_id": _TEXT,
        "chunk_id": _TEXT,
        "doc_id": _TEXT,
        "rank": _COUNT,
        "score": _REAL,
        "dense_rank": _COUNT,
        "dense_ranks": pl.List(pl.Int64),
        "dense_score": _REAL,
        "dense_scores": pl.List(pl.Float64),
        "sparse_rank": _COUNT,
        "sparse_score": _REAL,
        "input_digest": _TEXT,
    },
    # `query_sha256` and `content_sha256` are of the two texts that `cross_encoder_score` is about.
    "reranked_candidates": {
        "collection": _TEXT,
        "query_id": _TEXT,
        "chunk_id": _TEXT,
        "doc_id": _TEXT,
        "rank": _COUNT,
        "score": _REAL,
        "cross_encoder_score": _REAL,
        "fused_rank": _COUNT,
        "fallback_used": pl.Boolean(),
        "query_sha256": _TEXT,
        "content_sha256": _TEXT,
        "model": _TEXT,
        "model_fingerprint": _TEXT,
        "input_digest": _TEXT,
    },
    # The weights that a stage (`fuse`, `rerank`) learned from judged queries, by name. `fold` is null for those that
    # were fitted on all queries; those of a fold were fitted on the others. `ndcg` is nDCG@10 of the stage's ranking by
    # them, out of fold, `default_ndcg` that by the default weights.
    "ranking_weights": {
        "collection": _TEXT,
        "stage": _TEXT,
        "fold": _COUNT,
        "weight": _TEXT,
        "value": _REAL,
        "queries": _COUNT,
        "default_ndcg": _REAL,
        "ndcg": _REAL,
    },
    # One row per ranking and measure of each evaluation; `models` is JSON: stage to model name to fingerprint. The one
    # with the highest `sequence` is the newest; rows that were written before there was one have null.
    "evaluation": {
        **_FIGURE,
        "sequence": _COUNT,
        "evaluated_at": _INSTANT,
        "run_id": _TEXT,
        "models": _TEXT,
        "qrels_digest": _TEXT,
        "input_digest": _TEXT,
    },
    # The same for each judged query, of the newest evaluation and of the accepted one.
    "evaluation_queries": {
        "collection": _TEXT,
        "query_id": _TEXT,
        "ranking": _TEXT,
        "measure": _TEXT,
        "value": _REAL,
        "input_digest": _TEXT,
    },
    # Evaluations that a person has accepted as what a collection has to reach; the newest counts.
    "quality_baselines": {
        **_FIGURE,
        "sequence": _COUNT,
        "accepted_at": _INSTANT,
        "accepted_by": _TEXT,
        "note": _TEXT,
        "models": _TEXT,
        "qrels_digest": _TEXT,
        "input_digest": _TEXT,
    },
}
