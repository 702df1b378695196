"""A corpus in a bucket: the folder of the home is like it at each look, and whole when the bucket goes away."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.errors import CorpusError, SettingsError, StorageError
from embedder_assets.settings import Settings, load_settings
from tests.support.command import write
from tests.support.permissions import permissions_count
from tests.support.processes import free_port


def put(url: str, folder: Path) -> None:
    """Puts the files of a folder into a bucket."""
    for file in folder.rglob("*"):
        if file.is_file():
            put_text(url, file.relative_to(folder).as_posix(), file.read_text("utf-8"))


def put_text(url: str, key: str, text: str) -> None:
    obstore.put(from_url(url, client_options={"allow_http": True}), key, text.encode())


def remove(url: str, key: str) -> None:
    obstore.delete(from_url(url, client_options={"allow_http": True}), key)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return load_settings(
        {"home": (tmp_path / "home", "test"), "corpus_url": (url, "env:EMBEDDER_CORPUS_URL")}, environ={}
    )


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if not path.is_dir()
    }


def test_each_sync_makes_folder_equal_bucket(settings, url, tmp_path):
    put(url, write(tmp_path / "mine" / "kb" / "sub dir" / "é %2F.md", "one").parents[2])
    put_text(url, "kb/b.md", "two")
    put_text(url, "other/c.md", "three")
    assert settings.corpus_dir == settings.home / "corpus"
    assert files(sync_corpus(settings)) == {"kb/sub dir/é %2F.md": "one", "kb/b.md": "two", "other/c.md": "three"}
    put_text(url, "kb/b.md", "new")
    put_text(url, "kb/sub dir/d.md", "four")
    remove(url, "other/c.md")
    assert files(sync_corpus(settings)) == {"kb/sub dir/é %2F.md": "one", "kb/b.md": "new", "kb/sub dir/d.md": "four"}
    assert not (settings.corpus_dir / "other").exists()


def test_what_programs_leave_behind_is_not_fetched(settings, url):
    for key in ("kb/a.md", "kb/~$a.docx", "kb/__MACOSX/a.md", "kb/film.part", "kb/x.part/b.md", "kb/metadata.jsonl"):
        put_text(url, key, "text")
    assert {*files(sync_corpus(settings))} == {"kb/a.md", "kb/x.part/b.md", "kb/metadata.jsonl"}


def test_only_what_changed_is_fetched(settings, url, monkeypatch):
    fetched: list[str] = []
    get = obstore.get
    monkeypatch.setattr(obstore, "get", lambda store, key, **options: fetched.append(key) or get(store, key, **options))
    put_text(url, "kb/a.md", "one")
    put_text(url, "kb/b.md", "two")
    sync_corpus(settings)
    assert sorted(fetched) == ["kb/a.md", "kb/b.md"]
    written = (settings.corpus_dir / "kb" / "a.md").stat().st_mtime_ns
    sync_corpus(settings)
    assert len(fetched) == 2
    put_text(url, "kb/b.md", "new")
    write(settings.corpus_dir / "kb" / "a.md", "somebody wrote here")
    write(settings.corpus_dir / "kb" / "c.md", "and here")
    assert files(sync_corpus(settings)) == {"kb/a.md": "one", "kb/b.md": "new"}
    assert sorted(fetched[2:]) == ["kb/a.md", "kb/b.md"]
    assert (settings.corpus_dir / "kb" / "a.md").stat().st_mtime_ns == written


def test_file_and_folder_may_trade_places(settings, url):
    put_text(url, "kb/a", "file")
    put_text(url, "kb/b/c.md", "below")
    sync_corpus(settings)
    for key in ("kb/a", "kb/b/c.md"):
        remove(url, key)
    put_text(url, "kb/a/d.md", "below")
    put_text(url, "kb/b", "file")
    assert files(sync_corpus(settings)) == {"kb/a/d.md": "below", "kb/b": "file"}


def test_a_moved_object_is_never_missing(settings, url, monkeypatch):
    put_text(url, "kb/a.md", "one")
    sync_corpus(settings)
    remove(url, "kb/a.md")
    put_text(url, "kb/b.md", "one")
    seen: list[set[str]] = []
    for change in ("unlink", "replace", "rmdir"):
        real = getattr(Path, change)
        monkeypatch.setattr(
            Path, change, lambda *args, real=real: (real(*args), seen.append({*files(settings.corpus_dir)}))
        )
    assert files(sync_corpus(settings)) == {"kb/b.md": "one"}
    assert len(seen) >= 2
    assert all("kb/a.md" in names or "kb/b.md" in names for names in seen)


def test_unlistable_folder_stops_the_sync(settings, url):
    put_text(url, "kb/deep/a.md", "one")
    put_text(url, "kb/b.md", "two")
    sync_corpus(settings)
    remove(url, "kb/b.md")
    deep = settings.corpus_dir / "kb" / "deep"
    deep.chmod(0)
    with permissions_count(), pytest.raises(StorageError, match="Permission denied"):
        sync_corpus(settings)
    deep.chmod(0o755)
    assert files(settings.corpus_dir) == {"kb/deep/a.md": "one", "kb/b.md": "two"}
    assert files(sync_corpus(settings)) == {"kb/deep/a.md": "one"}


def test_a_bucket_that_goes_away_costs_no_document(settings, url, monkeypatch):
    put_text(url, "kb/a.md", "one")
    put_text(url, "kb/b.md", "two")
    sync_corpus(settings)
    for key in ("kb/a.md", "kb/c.md", "kb/d.md"):
        put_text(url, key, "new")
    remove(url, "kb/b.md")
    get = obstore.get

    def lost(store, key, **options):
        if key == "kb/d.md":
            raise OSError("the connection is gone")
        return get(store, key, **options)

    with monkeypatch.context() as patched:
        patched.setattr(obstore, "get", lost)
        with pytest.raises(StorageError, match="the connection is gone"):
            sync_corpus(settings)
        assert files(settings.corpus_dir) == {"kb/a.md": "one", "kb/b.md": "two"}
        patched.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        patched.setattr("embedder_assets.tables.object_store.RETRIES", 1)
        with pytest.raises(StorageError, match="Check that the server at AWS_ENDPOINT_URL answers"):
            sync_corpus(settings)
        assert files(settings.corpus_dir) == {"kb/a.md": "one", "kb/b.md": "two"}
    assert files(sync_corpus(settings)) == {"kb/a.md": "new", "kb/c.md": "new", "kb/d.md": "new"}


@pytest.mark.parametrize(
    "key", ["../out.md", "kb/../../out.md", "/etc/out.md", "kb//a.md", "kb/./a.md", f"kb/{'é' * 128}.md"]
)
def test_key_outside_the_folder_is_refused(settings, monkeypatch, key):
    """The client of the tests cannot put such a key, others can; so it is listed as they would leave it."""
    monkeypatch.setattr(obstore, "list", lambda store: [[{"path": key, "size": 1, "e_tag": "1"}]])
    with pytest.raises(CorpusError, match="a key that can be the path of a file"):
        sync_corpus(settings)
    assert not settings.corpus_dir.exists()


def test_key_of_file_and_folder_is_refused(settings, monkeypatch):
    listed = [{"path": key, "size": 1, "e_tag": "1"} for key in ("kb/a", "kb/a/b.md")]
    monkeypatch.setattr(obstore, "list", lambda store: [listed])
    with pytest.raises(CorpusError, match=r"object 'kb/a/b\.md'"):
        sync_corpus(settings)


def test_folder_and_bucket_together_are_refused(tmp_path, url):
    both = {"EMBEDDER_CORPUS_DIR": str(tmp_path), "EMBEDDER_CORPUS_URL": url}
    with pytest.raises(SettingsError, match=r"settings 'corpus_dir' .* and 'corpus_url' .*: expected one of them"):
        load_settings(environ=both)
