import polars as pl

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.tables.store import TableStore
from tests.support.factories import DENSE, SECOND, FakeTriton, make_chunks, make_meter, make_settings


def test_collection_has_the_lowest_coverage_of_its_models(tmp_path, monkeypatch):
    store = TableStore(tmp_path)
    store.replace("chunks", "kb", make_chunks("one", "two"))
    delete_and_insert = store.delete_and_insert

    def lose_a_row(table, collection, added, removed):
        return delete_and_insert(table, collection, pl.concat(added)[:3], removed)

    monkeypatch.setattr(store, "delete_and_insert", lose_a_row)
    meter = make_meter()
    encoders = [DenseEncoder(DENSE, "a-1"), DenseEncoder(SECOND, "b-1")]
    outcomes = EmbeddingStage(store, FakeTriton(), make_settings(tmp_path), encoders).run("kb", meter)
    assert [outcome.coverage for outcome in outcomes] == [1, 0.5]
    assert meter.record().coverage == {"kb": 0.5}
    assert meter.record().models == {DENSE: "a-1", SECOND: "b-1"}
