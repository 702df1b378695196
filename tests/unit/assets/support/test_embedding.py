from types import SimpleNamespace

import polars as pl

from embedder_assets.assets.support.embedding import embed_collection
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.tables.store import TableStore
from tests.support.factories import DENSE, SECOND, FakeTriton, make_chunks, make_meter, make_settings


def test_collection_has_the_lowest_coverage_of_its_models(tmp_path, monkeypatch):
    store = TableStore(tmp_path)
    store.replace("chunks", "kb", make_chunks("one", "two"))
    exchange = store.exchange

    def lose_a_row(table, collection, added, removed):
        return exchange(table, collection, pl.concat(added)[:3], removed)

    monkeypatch.setattr(store, "exchange", lose_a_row)
    meter = make_meter()
    pipeline = SimpleNamespace(triton=FakeTriton(), settings=make_settings(tmp_path))
    encoders = [DenseEncoder(DENSE, "a-1"), DenseEncoder(SECOND, "b-1")]
    metadata = embed_collection(pipeline, store, encoders, "kb", meter)
    assert (metadata["coverage_ratio"], meter.record().coverage) == (0.5, {"kb": 0.5})
    assert meter.record().models == {DENSE: "a-1", SECOND: "b-1"}
