"""A collection that is removed, with all that was made from it."""

import pytest

from embedder_assets.drop_collection import drop_collection
from embedder_assets.errors import TableError
from embedder_assets.export.export import export_folder
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_chunks, make_documents
from tests.support.permissions import permissions_count


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


def test_dropped_collection_leaves_nothing(store, tmp_path):
    for name in ("kb", "other"):
        store.append("documents", make_documents(name, a="text"))
        store.append("chunks", make_chunks("text", collection=name))
        export_folder(tmp_path, name).mkdir(parents=True)
        store.staging("chunks", name, "f1").append(make_chunks("text", collection=name))
    assert drop_collection(store, "kb") == {"documents": 1, "chunks": 1}
    assert [store.collections(table) for table in ("documents", "chunks")] == [["other"], ["other"]]
    assert not export_folder(tmp_path, "kb").exists()
    assert export_folder(tmp_path, "other").exists()
    assert [path.parent.name for path in (tmp_path / "staging").glob("*/*/*")] == ["other"]
    with pytest.raises(TableError, match=r"one of: other, got no rows in any table\. Did you mean 'other'"):
        drop_collection(store, "othr")


def test_rows_stay_where_exports_cannot_be_removed(store, tmp_path):
    store.append("documents", make_documents(a="text"))
    folder = export_folder(tmp_path, "kb")
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    folder.chmod(0o500)
    with permissions_count(), pytest.raises(TableError, match=r"exports in .*Permission denied\. No row was removed"):
        drop_collection(store, "kb")
    folder.chmod(0o700)
    assert drop_collection(store, "kb") == {"documents": 1}
