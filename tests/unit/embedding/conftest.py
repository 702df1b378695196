"""A store, and runs that embed one model's chunks into it."""

import pytest

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.stage import EmbeddingOutcome, EmbeddingStage
from embedder_assets.tables.store import TableStore
from tests.support.factories import DENSE, FakeTriton, make_meter, make_settings


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


@pytest.fixture
def embed_chunks(store, tmp_path):
    """Makes some chunks the collection's, embeds what is missing, and returns the outcome."""

    def run(chunks, triton=None, *, meter=None, fingerprint="dense-1", encoder=None, **settings) -> EmbeddingOutcome:
        store.replace("chunks", "kb", chunks)
        encoder = encoder or DenseEncoder(DENSE, fingerprint)
        stage = EmbeddingStage(store, triton or FakeTriton(), make_settings(tmp_path, **settings), [encoder])
        return stage.run("kb", meter or make_meter())[0]

    return run
