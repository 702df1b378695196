"""What an embedding table holds of a collection."""

from deltalake import DeltaTable

from embedder_assets.tables.store import TableStore
from tests.support.factories import chunk_id, sha256


def version(store: TableStore) -> int:
    return DeltaTable(str(store.path("dense_embeddings"))).version()


def keys(store: TableStore, table: str = "dense_embeddings") -> set[tuple[str, str, str]]:
    rows = store.read(table, "kb", ["chunk_id", "content_sha256", "model_fingerprint"])
    assert not rows.is_duplicated().any()
    return set(rows.iter_rows())


def key(index: int, text: str, doc_id: str = "a.md", fingerprint: str = "dense-1") -> tuple[str, str, str]:
    return chunk_id(doc_id, index), sha256(text), fingerprint
