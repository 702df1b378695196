"""Lexical vectors by hand, and how their rows come, stand in and go."""

from math import log

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable
from scipy.sparse import csr_array
from tokenizers import Tokenizer

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.lexical import (
    LEXICAL,
    LexicalEncoder,
    LexicalOutcome,
    inverse_document_frequency,
    lexical_model,
    write_lexical_rows,
)
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.errors import InferenceError, ModelBuildError, TableError, TritonUnavailableError
from embedder_assets.export.export import ExportStage
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.search import Search
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.checkpoints import SPECIAL, WORDS, write_sparse_model
from tests.support.factories import (
    DENSE,
    RERANK,
    SPARSE,
    FakeTriton,
    chunk_id,
    make_chunks,
    make_error,
    make_meter,
    make_queries,
    make_settings,
)

TABLE = "sparse_embeddings"
MODEL = ModelVersion(SPARSE, "sparse-1")
TEXTS = ("the whale", "the bread", "a model server")
WORD = {word: at for at, word in enumerate([*SPECIAL, *WORDS])}


@pytest.fixture
def repository(tmp_path):
    write_sparse_model(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def settings(tmp_path, repository):
    return make_settings(tmp_path / "home", model_repository=repository)


@pytest.fixture
def encoder(settings) -> LexicalEncoder:
    return LexicalEncoder(settings)


@pytest.fixture
def store(settings) -> TableStore:
    """A collection with dense vectors and without sparse ones."""
    store = TableStore(settings.home)
    store.replace("chunks", "kb", make_chunks(*TEXTS))
    store.replace("queries", "kb", make_queries("whale"))
    EmbeddingStage(store, FakeTriton(), settings, [DenseEncoder(DENSE, "dense-1")]).run("kb", make_meter())
    return store


def embed(store, settings, fingerprint="sparse-1", allow_swap=None):
    stage = EmbeddingStage(store, FakeTriton(), settings, [SparseEncoder(SPARSE, fingerprint)], allow_swap)
    return stage.run("kb", make_meter("sparse"))[0]


def sources(store) -> dict[str, str]:
    """Text number to source, of a table with one row per chunk."""
    rows = store.read(TABLE, "kb")
    assert not rows["chunk_id"].is_duplicated().any()
    number = {chunk_id("a.md", at): at for at in range(len(TEXTS))}
    return {number[row["chunk_id"]]: row["source"] for row in rows.iter_rows(named=True)}


def version(store) -> int:
    return DeltaTable(str(store.path(TABLE))).version()


# Vectors


def test_passage_weight_is_log_of_count(encoder):
    (row,) = encoder.passages(["Whale sea the whale sea whale"]).rows(named=True)
    assert row["indices"] == [WORD["whale"], WORD["sea"], WORD["the"]]
    assert row["values"] == pytest.approx([log(4), log(3), log(2)])
    assert row["source"] == LEXICAL


def test_words_beyond_the_models_limit_are_dropped(encoder):
    (row,) = encoder.passages(["text call server model bread bread"]).rows(named=True)
    assert row["indices"] == [WORD[word] for word in ("bread", "model", "server", "call")]


def test_special_tokens_say_nothing(encoder):
    rows = encoder.passages(["[SEP] whale 日", "日", ""])
    assert rows["indices"].to_list() == [[WORD["whale"]], [], []]


def test_the_columns_are_those_of_the_table(encoder):
    for texts in (["whale"], []):
        columns = ("indices", "values", "source")
        assert encoder.passages(texts).schema == {name: SCHEMAS[TABLE][name] for name in columns}


def test_tokenizer_neither_truncates_nor_pads(repository, settings):
    file = repository / SPARSE / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    tokenizer.save(str(file))
    rows = LexicalEncoder(settings).passages(["whale sea bread text", "whale"])
    assert [sorted(each) for each in rows["indices"]] == [[15, 18, 19, 20], [18]]


def test_query_weight_is_count_times_idf(encoder):
    whale, sea = WORD["whale"], WORD["sea"]
    passages = csr_array(([2.0, 1.0, 0.5], ([0, 0, 1], [whale, sea, whale])), shape=(2, sea + 1))
    queries = encoder.queries(["sea sea whale bread", "bread", "日"], [passages[[0]], passages[[1], : whale + 1]])
    assert queries.shape == (3, sea + 1)
    assert queries.dtype == np.float32
    expected = np.zeros((3, sea + 1))
    expected[0, whale] = log(1 + 0.5 / 2.5)
    expected[0, sea] = 2 * log(1 + 1.5 / 1.5)
    assert queries.toarray() == pytest.approx(expected)


def test_word_in_no_passage_weighs_most():
    passages = csr_array(np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]]))
    assert inverse_document_frequency([passages]) == pytest.approx([log(2), log(1 + 2.5 / 0.5), log(1.2)])


# Name and fingerprint


def test_fingerprint_covers_tokenizer_and_pairs_kept(repository, settings):
    name, fingerprint = lexical_model(settings)
    assert (name, len(fingerprint)) == (LEXICAL, 16)
    assert lexical_model(settings) == (name, fingerprint)
    write_sparse_model(repository, dimension=5)
    other = lexical_model(settings).fingerprint
    file = repository / SPARSE / "tokenizer.json"
    file.write_text(file.read_text("utf-8") + "\n", "utf-8")
    assert len({fingerprint, other, lexical_model(settings).fingerprint}) == 3


@pytest.mark.parametrize("off", [{"enable_sparse": False}, {"fallback": ("rerank",)}])
def test_what_is_switched_off_has_no_lexical_rows(settings, off):
    assert lexical_model(settings.model_copy(update=off)) is None


def test_no_tokenizer_no_lexical_model(repository, settings, store):
    file = repository / SPARSE / "tokenizer.json"
    for harm in (lambda: file.write_text("no tokenizer"), file.unlink):
        harm()
        with pytest.raises(ModelBuildError, match=r"tokenizer\.json.*`embedder models build sparse_splade`"):
            write_lexical_rows(store, settings, MODEL, "kb")
    assert lexical_model(settings) is None
    assert not store.exists(TABLE)


# Rows


def test_every_chunk_gets_a_lexical_row(store, settings):
    outcome = write_lexical_rows(store, settings, MODEL, "kb")
    lexical = lexical_model(settings)
    assert outcome == LexicalOutcome(rows=3, lexical=3, models=dict([lexical]), coverage=0.0)
    rows = store.read(TABLE, "kb")
    assert set(rows.select("model", "model_fingerprint", "source").rows()) == {(*lexical, LEXICAL)}
    assert set(rows["content_sha256"]) == set(store.read("chunks", "kb")["content_sha256"])


def test_good_rows_of_the_model_are_kept(store, settings):
    store.replace("chunks", "kb", make_chunks(*TEXTS[:2]))
    embed(store, settings)
    store.replace("chunks", "kb", make_chunks(*TEXTS))
    outcome = write_lexical_rows(store, settings, MODEL, "kb")
    assert sources(store) == {0: "model", 1: "model", 2: LEXICAL}
    assert (outcome.lexical, outcome.coverage) == (1, pytest.approx(2 / 3))
    assert outcome.models == dict([MODEL, lexical_model(settings)])


def test_nothing_new_needs_no_commit(store, settings):
    first = write_lexical_rows(store, settings, MODEL, "kb")
    before = version(store)
    assert write_lexical_rows(store, settings, MODEL, "kb") == first
    assert version(store) == before


def test_stale_rows_go_in_the_same_commit(store, settings):
    embed(store, settings)
    store.replace("chunks", "kb", make_chunks(TEXTS[0], "the sea"))
    before = version(store)
    write_lexical_rows(store, settings, MODEL, "kb")
    assert version(store) == before + 1
    assert sources(store) == {0: "model", 1: LEXICAL}


def test_another_vocabulary_makes_the_lexical_rows_anew(store, settings, repository):
    write_lexical_rows(store, settings, MODEL, "kb")
    write_sparse_model(repository, dimension=2)
    write_lexical_rows(store, settings, MODEL, "kb")
    assert store.read(TABLE, "kb")["model_fingerprint"].unique().to_list() == [lexical_model(settings).fingerprint]
    assert sources(store) == dict.fromkeys(range(3), LEXICAL)


def test_a_collection_without_chunks_has_no_rows(store, settings):
    store.replace("chunks", "kb", make_chunks())
    assert write_lexical_rows(store, settings, MODEL, "kb").coverage == 1.0
    assert not store.exists(TABLE)


def test_model_rows_replace_lexical_ones_ungated(store, settings):
    asked = []
    write_lexical_rows(store, settings, MODEL, "kb")
    before = version(store)
    outcome = embed(store, settings, allow_swap=lambda *_: asked.append("asked"))
    assert (version(store), outcome.deleted) == (before + 1, 3)
    assert sources(store) == dict.fromkeys(range(3), "model")
    assert asked == []


def test_earlier_model_stays_until_the_swap(store, settings):
    asked = []
    embed(store, settings, "earlier")
    write_lexical_rows(store, settings, MODEL, "kb")
    assert sorted(store.read(TABLE, "kb")["source"]) == [LEXICAL] * 3 + ["model"] * 3
    embed(store, settings, allow_swap=lambda *_: asked.append("asked"))
    assert asked == ["asked"]
    assert store.read(TABLE, "kb")["model_fingerprint"].to_list() == ["sparse-1"] * 3


# What reads them


def test_index_takes_lexical_rows_where_allowed(store, settings):
    store.replace("chunks", "kb", make_chunks(*TEXTS[:2]))
    embed(store, settings)
    store.replace("chunks", "kb", make_chunks(*TEXTS))
    write_lexical_rows(store, settings, MODEL, "kb")
    index = ChunkIndex.of_tables(store, ["kb"], [], [MODEL, lexical_model(settings)])
    (block,) = index.sparse
    at = block.chunks["chunk_id"].to_list().index(chunk_id("a.md", 2))
    assert set(block.vectors[[at]].indices) == {WORD[word] for word in TEXTS[2].split()}
    with pytest.raises(TableError, match="got none for 1 of them"):
        list(ChunkIndex.of_tables(store, ["kb"], [], [MODEL]).sparse)


def fuse(store, settings, triton, meter=None) -> pl.DataFrame:
    models = RetrievalModels.of(settings, triton)
    return FuseStage(store, triton, settings, models).run("kb", meter or make_meter("fuse")).sort("query_id", "rank")


def test_lexical_query_stands_in(store, settings):
    write_lexical_rows(store, settings, MODEL, "kb")
    meter = make_meter("fuse")
    rows = fuse(store, settings, FakeTriton(broken={SPARSE: make_error()}), meter)
    found = rows.filter(pl.col("sparse_rank").is_not_null()).select("chunk_id", "sparse_rank").rows()
    assert found == [(chunk_id("a.md", 0), 1)]
    assert (meter.record().fallback_used, meter.record().fallback_reason) == (True, "inference_failed")


def test_a_model_that_works_again_is_asked_again(store, settings):
    embed(store, settings)
    undisturbed = fuse(store, settings, FakeTriton())
    for table in ("fused_candidates", "query_embeddings"):
        store.remove(table, "kb")
    fallen_back = fuse(store, settings, FakeTriton(broken={SPARSE: make_error()}))
    assert fallen_back["input_digest"][0] != undisturbed["input_digest"][0]
    meter = make_meter("fuse")
    rows = fuse(store, settings, FakeTriton(), meter)
    assert rows.equals(undisturbed.select(rows.columns))
    assert not meter.record().fallback_used


def test_candidates_are_recomputed_after_recovery(store, settings):
    write_lexical_rows(store, settings, MODEL, "kb")
    meter = make_meter("fuse")
    lexical = fuse(store, settings, FakeTriton(), meter)
    assert not meter.record().fallback_used
    embed(store, settings)
    assert fuse(store, settings, FakeTriton())["input_digest"][0] != lexical["input_digest"][0]


def test_failing_dense_model_has_no_stand_in(store, settings):
    write_lexical_rows(store, settings, MODEL, "kb")
    with pytest.raises(InferenceError):
        fuse(store, settings, FakeTriton(broken={DENSE: make_error()}))


def test_forbidden_lexical_queries_raise_the_error(store, settings):
    embed(store, settings)
    forbidden = settings.model_copy(update={"fallback": ("rerank",)})
    with pytest.raises(InferenceError):
        fuse(store, forbidden, FakeTriton(broken={SPARSE: make_error()}))
    assert not store.exists("fused_candidates")


def test_search_survives_failing_sparse_and_rerank(store, settings):
    write_lexical_rows(store, settings, MODEL, "kb")
    said = []
    broken = FakeTriton(broken={SPARSE: make_error(), RERANK: make_error(TritonUnavailableError)})
    hits = Search(store, broken, settings, [], said.append).search("whale", 2)
    assert [(hit.rank, hit.fused_rank, hit.cross_encoder_score) for hit in hits] == [(1, 1, None), (2, 2, None)]
    assert hits[0].score > hits[1].score
    assert said == [
        f"a lexical query stands in for the sparse model (inference_failed): {make_error()}",
        f"the fused order stands (triton_unavailable): {make_error()}",
    ]


def test_search_without_a_failure_says_nothing(store, settings):
    embed(store, settings)
    said = []
    assert Search(store, FakeTriton(), settings, [], said.append).search("whale", 1)[0].cross_encoder_score is not None
    assert said == []


@pytest.mark.parametrize(("model", "others"), [(SPARSE, ("rerank",)), (RERANK, ("sparse",))])
def test_search_fails_where_nothing_may_stand_in(store, settings, model, others):
    embed(store, settings)
    settings = settings.model_copy(update={"fallback": others})
    with pytest.raises(InferenceError):
        Search(store, FakeTriton(broken={model: make_error()}), settings, []).search("whale", 1)


def test_the_export_says_which_vectors_are_lexical(store, settings):
    triton = FakeTriton()
    write_lexical_rows(store, settings, MODEL, "kb")
    settings = settings.model_copy(update={"enable_rerank": False})
    fuse(store, settings, triton)
    exported = ExportStage(store, settings, RetrievalModels.of(settings, triton))
    first = pl.read_parquet(exported.run("kb").folder / "chunks.parquet")
    assert first["sparse_source"].to_list() == [LEXICAL] * 3
    embed(store, settings)
    fuse(store, settings, triton)
    assert exported.run("kb").written
    assert pl.read_parquet(exported.run("kb").folder / "chunks.parquet")["sparse_source"].to_list() == ["model"] * 3
