import polars as pl
import pytest

from embedder_assets.checks import rules
from embedder_assets.checks.data import RULES
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.lexical import lexical_model
from embedder_assets.export.export import ExportStage, export_folder
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.tables.schemas import SCHEMAS
from tests.support.checkpoints import write_sparse_model
from tests.support.factories import (
    DENSE,
    SECOND,
    SPARSE,
    chunk_id,
    dense_vector,
    document_text,
    make_chunks,
    make_documents,
    make_pipeline,
    make_queries,
    make_settings,
    second_vector,
    sha256,
)

TEXTS = ("red apple", "größer 日本 ✓", "blue sky")
FIRST = chunk_id("a.md", 0)


@pytest.fixture
def pipeline(tmp_path):
    """A collection with good rows in every table, and its export."""
    pipeline = make_pipeline(tmp_path)
    store, chunks = pipeline.store, make_chunks(*TEXTS)
    key = chunks.select("collection", "chunk_id", "content_sha256").with_columns(model=pl.lit(DENSE))
    dense = pl.Series("embedding", [dense_vector(text).tolist() for text in TEXTS])
    candidates = [
        ("kb", query, chunk_id("a.md", number), "a.md", number + 1) for query in ("q0", "q1") for number in range(3)
    ]
    named = pl.DataFrame(candidates, ["collection", "query_id", "chunk_id", "doc_id", "rank"], orient="row")
    good = {
        "documents": make_documents(a=document_text(*TEXTS), blank=" \n"),
        "chunks": chunks,
        "dense_embeddings": key.with_columns(dense, model_fingerprint=pl.lit("dense-1")),
        "sparse_embeddings": key.with_columns(
            pl.Series("indices", [[1, 2], [3], []], pl.List(pl.Int32)),
            pl.Series("values", [[2.0, 1.0], [0.5], []], pl.List(pl.Float32)),
            source=pl.lit("model"),
            model=pl.lit(SPARSE),
            model_fingerprint=pl.lit("sparse-1"),
        ),
        "queries": make_queries("apple", "sky"),
        "fused_candidates": _completed("fused_candidates", named),
        "reranked_candidates": _completed("reranked_candidates", named),
    }
    for table, rows in good.items():
        store.replace(table, "kb", rows)
    models = RetrievalModels((ModelVersion(DENSE, "dense-1"),), ModelVersion(SPARSE, "sparse-1"))
    ExportStage(store, pipeline.settings, models).run("kb")
    return pipeline


def _completed(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    missing = {name: kind for name, kind in SCHEMAS[table].items() if name not in rows.columns}
    return rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())


def change(pipeline, table: str, *changes: pl.Expr) -> None:
    """Rewrites the columns of the collection's rows."""
    pipeline.store.replace(table, "kb", pipeline.store.read(table, "kb").with_columns(*changes))


def drop(pipeline, table: str, condition: pl.Expr) -> None:
    pipeline.store.replace(table, "kb", pipeline.store.read(table, "kb").filter(~condition))


def repeat(pipeline, table: str) -> None:
    pipeline.store.append(table, pipeline.store.read(table, "kb").head(1))


def first_becomes(column: str, value: object) -> pl.Expr:
    """A column with another value for the first chunk."""
    return pl.when(pl.col("chunk_id") == FIRST).then(value).otherwise(pl.col(column)).alias(column)


ALL_RULES = [rule for table_rules in RULES.values() for rule in table_rules]


@pytest.mark.parametrize("rule", ALL_RULES)
def test_good_rows_pass(pipeline, rule):
    assert rule(pipeline, "kb") is None


@pytest.mark.parametrize("rule", [rule for rule in ALL_RULES if rule is not rules.export_digests])
def test_a_collection_without_documents_passes(pipeline, rule):
    assert rule(pipeline, "empty") is None


@pytest.mark.parametrize("rule", ALL_RULES)
def test_every_rule_says_what_must_hold(rule):
    assert rule.__doc__.endswith(".")


@pytest.mark.parametrize(
    ("rule", "table", "example"),
    [(rules.unique_document_ids, "documents", ".md"), (rules.unique_chunk_ids, "chunks", "-")],
)
def test_a_repeated_id_fails(pipeline, rule, table, example):
    repeat(pipeline, table)
    assert rule(pipeline, "kb").text.startswith("1 keys that occur more than once, for example ")
    assert example in rule(pipeline, "kb").text


@pytest.mark.parametrize("column", ["start", "end"])
def test_wrong_offset_names_the_chunk(pipeline, column):
    change(pipeline, "chunks", first_becomes(column, pl.col(column) + 1))
    assert FIRST in rules.offsets_reproduce_text(pipeline, "kb").text


def test_a_chunk_of_no_document_fails(pipeline):
    drop(pipeline, "documents", pl.col("doc_id") == "a.md")
    assert rules.offsets_reproduce_text(pipeline, "kb").text.startswith("3 chunks whose offsets")


def test_a_document_with_text_and_no_chunk_fails(pipeline):
    pipeline.store.append("documents", make_documents(b="text", c="more text", d="\u3000"))
    found = rules.every_document_has_chunks(pipeline, "kb")
    assert found.text == "2 documents with text and without a chunk, for example b.md, c.md"


def test_a_chunk_without_its_document_fails(pipeline):
    pipeline.store.append("chunks", make_chunks("text", doc_id="gone.md"))
    found = rules.every_document_has_chunks(pipeline, "kb")
    assert found.text == "1 documents that have chunks and are not in the table, for example gone.md"


@pytest.mark.parametrize(("tokens", "fails"), [(256, False), (257, True)])
def test_a_chunk_over_the_token_budget_fails(pipeline, tokens, fails):
    change(pipeline, "chunks", first_becomes("token_count", tokens))
    assert (rules.within_token_budget(pipeline, "kb") is not None) == fails


def test_chunk_over_second_model_budget_fails(pipeline, tmp_path):
    pipeline.settings = make_settings(tmp_path, dense_models=(DENSE, SECOND))
    pipeline.triton.token_budgets[SECOND] = 100
    assert rules.within_token_budget(pipeline, "kb") is None
    change(pipeline, "chunks", first_becomes("token_count", 101))
    assert "1 chunks of more than 100 tokens" in rules.within_token_budget(pipeline, "kb").text


COVERAGE = [(rules.dense_coverage, "dense_embeddings"), (rules.sparse_coverage, "sparse_embeddings")]


@pytest.mark.parametrize(("rule", "table"), COVERAGE)
@pytest.mark.parametrize("column", ["model", "model_fingerprint", "content_sha256", "chunk_id"])
def test_a_chunk_without_a_current_row_fails(pipeline, rule, table, column):
    change(pipeline, table, first_becomes(column, pl.lit("other")))
    assert rule(pipeline, "kb").text.endswith(f"1 of 3 chunks without a row, for example {FIRST}")


def list_failure(pipeline, model: str, fingerprint: str, chunk: str = FIRST, text: str = TEXTS[0]) -> None:
    row = ("kb", "dense", chunk, sha256(text), None, model, fingerprint, "out of luck")
    issues = pl.DataFrame([row], schema=SCHEMAS["inference_issues"], orient="row")
    pipeline.store.append("inference_issues", issues)


LISTED = [
    (rules.dense_coverage, "dense_embeddings", DENSE, "dense-1"),
    (rules.sparse_coverage, "sparse_embeddings", SPARSE, "sparse-1"),
]


@pytest.mark.parametrize(("rule", "table", "model", "fingerprint"), LISTED)
def test_missing_row_of_known_failure_is_note(pipeline, rule, table, model, fingerprint):
    drop(pipeline, table, pl.col("chunk_id") == FIRST)
    list_failure(pipeline, model, fingerprint)
    found = rule(pipeline, "kb")
    assert found.level == "note"
    assert found.text.startswith(f"model '{model}': 1 of 3 chunks without a row because the model fails on them")
    assert FIRST in found.text


@pytest.mark.parametrize(("rule", "table", "model", "fingerprint"), LISTED)
def test_missing_row_next_to_known_failure_fails(pipeline, rule, table, model, fingerprint):
    drop(pipeline, table, pl.col("chunk_id").is_in([FIRST, chunk_id("a.md", 1)]))
    list_failure(pipeline, model, fingerprint)
    found = rule(pipeline, "kb")
    assert found.level == "error"
    assert found.text == f"model '{model}': 1 of 3 chunks without a row, for example {chunk_id('a.md', 1)}"


@pytest.mark.parametrize(("rule", "table", "model", "fingerprint"), LISTED)
@pytest.mark.parametrize("of", ["another model", "an older fingerprint", "an older text"])
def test_known_failure_of_another_model_excuses_nothing(pipeline, rule, table, model, fingerprint, of):
    drop(pipeline, table, pl.col("chunk_id") == FIRST)
    if of == "another model":
        list_failure(pipeline, "other", fingerprint)
    elif of == "an older fingerprint":
        list_failure(pipeline, model, "older")
    else:
        list_failure(pipeline, model, fingerprint, text="before the edit")
    assert rule(pipeline, "kb").level == "error"
    assert "1 of 3 chunks without a row" in rule(pipeline, "kb").text


@pytest.mark.parametrize(("rule", "table"), COVERAGE)
def test_a_chunk_with_two_rows_fails(pipeline, rule, table):
    repeat(pipeline, table)
    assert "more than once" in rule(pipeline, "kb").text


@pytest.mark.parametrize(("rule", "table"), COVERAGE)
def test_rows_of_older_model_do_not_fail(pipeline, rule, table):
    older = pipeline.store.read(table, "kb").with_columns(model_fingerprint=pl.lit("older"))
    pipeline.store.append(table, older)
    assert rule(pipeline, "kb") is None


@pytest.fixture
def lexical(pipeline, tmp_path) -> None:
    """A vocabulary for lexical vectors, and the first chunk has such a vector in the place of the model's."""
    write_sparse_model(tmp_path / "repository")
    pipeline.settings = make_settings(tmp_path, model_repository=tmp_path / "repository")
    labels = dict(zip(("model", "model_fingerprint"), lexical_model(pipeline.settings), strict=True))
    change(pipeline, "sparse_embeddings", *(first_becomes(name, pl.lit(value)) for name, value in labels.items()))


def test_lexical_vector_covers_chunk_and_is_noted(pipeline, lexical):
    found = rules.sparse_coverage(pipeline, "kb")
    assert found.level == "note"
    assert found.text == f"1 chunks have a lexical vector in the place of one of model '{SPARSE}'"


def test_lexical_vector_without_fallback_covers_nothing(pipeline, lexical):
    pipeline.settings = pipeline.settings.model_copy(update={"fallback": ()})
    assert "1 of 3 chunks without a row" in rules.sparse_coverage(pipeline, "kb").text


def test_lexical_vector_of_other_vocabulary_covers_nothing(pipeline, lexical):
    change(pipeline, "sparse_embeddings", first_becomes("model_fingerprint", pl.lit("another")))
    assert "1 of 3 chunks without a row" in rules.sparse_coverage(pipeline, "kb").text


def test_lexical_and_model_vector_together_fail(pipeline, lexical):
    rows = pipeline.store.read("sparse_embeddings", "kb").filter(pl.col("chunk_id") == FIRST)
    pipeline.store.append(
        "sparse_embeddings", rows.with_columns(model=pl.lit(SPARSE), model_fingerprint=pl.lit("sparse-1"))
    )
    assert "more than once" in rules.sparse_coverage(pipeline, "kb").text


def of_second_model(pipeline) -> pl.DataFrame:
    vectors = pl.Series("embedding", [second_vector(text).tolist() for text in TEXTS])
    labels = {"model": pl.lit(SECOND), "model_fingerprint": pl.lit("second-1")}
    return pipeline.store.read("dense_embeddings", "kb").sort("chunk_id").with_columns(vectors, **labels)


def test_each_dense_model_covers_every_chunk(pipeline, tmp_path):
    pipeline.settings = make_settings(tmp_path, dense_models=(DENSE, SECOND))
    pipeline.store.append("dense_embeddings", of_second_model(pipeline).tail(2))
    problem = rules.dense_coverage(pipeline, "kb").text
    assert problem.startswith(f"model '{SECOND}': 1 of 3 chunks without a row, for example ")
    assert DENSE not in problem


def test_models_of_other_dimensions_pass(pipeline, tmp_path):
    pipeline.settings = make_settings(tmp_path, dense_models=(DENSE, SECOND))
    pipeline.store.append("dense_embeddings", of_second_model(pipeline))
    for rule in RULES["dense_embeddings"]:
        assert rule(pipeline, "kb") is None


@pytest.mark.parametrize(("table", "model"), [("dense_embeddings", DENSE), ("sparse_embeddings", SPARSE)])
def test_two_fingerprints_of_one_model_fail(pipeline, table, model):
    (rule,) = (rule for rule in RULES[table] if rule.__name__ == "one_fingerprint_per_model")
    older = pipeline.store.read(table, "kb").head(1).with_columns(model_fingerprint=pl.lit("stale"))
    pipeline.store.append(table, older.with_columns(collection=pl.lit("another")))
    assert rule(pipeline, "kb") is None
    pipeline.store.append(table, older)
    current = {"dense_embeddings": "dense-1", "sparse_embeddings": "sparse-1"}[table]
    assert rule(pipeline, "kb").text == f"model '{model}' has rows of {current} and stale"


@pytest.mark.parametrize("factor", [0.0, 1.01, float("nan"), float("inf")])
def test_a_vector_not_of_length_one_fails(pipeline, factor):
    change(
        pipeline, "dense_embeddings", first_becomes("embedding", pl.col("embedding").list.eval(pl.element() * factor))
    )
    assert rules.dense_unit_vectors(pipeline, "kb").text.endswith(f"for example {FIRST}")


def test_vectors_of_different_dimensions_fail(pipeline):
    change(pipeline, "dense_embeddings", first_becomes("embedding", pl.lit([1.0], pl.List(pl.Float32))))
    assert rules.dense_unit_vectors(pipeline, "kb").text == f"model '{DENSE}': vectors of different dimensions"


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_sparse_weight_fails(pipeline, weight):
    change(pipeline, "sparse_embeddings", first_becomes("values", pl.lit([2.0, weight], pl.List(pl.Float32))))
    assert rules.sparse_weights(pipeline, "kb").text.startswith("1 rows with weights")


def test_a_weight_without_an_index_fails(pipeline):
    change(pipeline, "sparse_embeddings", first_becomes("values", pl.lit([2.0], pl.List(pl.Float32))))
    assert rules.sparse_weights(pipeline, "kb").text.startswith("1 rows with unequal numbers")


RANKED = [(rules.fused_every_query, "fused_candidates"), (rules.reranked_every_query, "reranked_candidates")]


@pytest.mark.parametrize(("rule", "table"), RANKED)
def test_a_query_without_a_candidate_fails(pipeline, rule, table):
    drop(pipeline, table, pl.col("query_id") == "q1")
    assert rule(pipeline, "kb").text == "1 queries without a candidate, for example q1"


@pytest.mark.parametrize(("rule", "table"), RANKED)
@pytest.mark.parametrize("rank", [0, 2, 4])
def test_ranks_with_gaps_fail(pipeline, rule, table, rank):
    condition = (pl.col("query_id") == "q1") & (pl.col("rank") == 1)
    change(pipeline, table, pl.when(condition).then(rank).otherwise(pl.col("rank")).alias("rank"))
    assert rule(pipeline, "kb").text.endswith("for example q1")


def test_a_changed_missing_or_undescribed_export_fails(pipeline):
    folder = export_folder(pipeline.settings.home, "kb")
    (folder / "dense.npz").write_bytes(b"changed")
    assert "for example dense.npz" in rules.export_digests(pipeline, "kb").text
    (folder / "dense.npz").unlink()
    assert "for example dense.npz" in rules.export_digests(pipeline, "kb").text
    (folder / "manifest.json").unlink()
    assert "no readable manifest" in rules.export_digests(pipeline, "kb").text


@pytest.mark.parametrize(
    ("rule", "table"),
    [(rules.fused_every_query, "fused_candidates"), (rules.reranked_every_query, "reranked_candidates")],
)
def test_known_failing_query_is_a_note(pipeline, rule, table):
    drop(pipeline, table, pl.col("query_id") == "q1")
    row = ("kb", "fuse", None, None, "q1", DENSE, "dense-1", "out of luck")
    pipeline.store.append("inference_issues", pl.DataFrame([row], schema=SCHEMAS["inference_issues"], orient="row"))
    found = rule(pipeline, "kb")
    assert found.level == "note"
    assert "q1" in found.text
    drop(pipeline, table, pl.col("query_id") == "q0")
    found = rule(pipeline, "kb")
    assert found.level == "error"
    assert found.text == "1 queries without a candidate, for example q0"
