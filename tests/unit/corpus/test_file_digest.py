"""What the sensor sees of a collection's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.file_digest import files_digest
from embedder_assets.errors import CorpusError
from tests.support.permissions import permissions_count


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "kb"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("one")
    (folder / "deep" / "b.txt").write_text("two")
    return folder


def split(root: Path, text: str) -> None:
    (root / "qrels").mkdir()
    (root / "qrels" / "test.tsv").write_text(text)


def digest(root: Path) -> str:
    return files_digest(Collection("kb", root, recursive=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a.md").write_text("longer"),
        lambda root: (root / "deep" / "c.md").write_text("new"),
        lambda root: (root / "a.md").unlink(),
        lambda root: (root / "a.md").rename(root / "z.md"),
        lambda root: (root / "queries.jsonl").write_text("{}"),
        lambda root: (root / "qrels.tsv").write_text("q\td\t1\n"),
        lambda root: split(root, "q\td\t1\n"),
        lambda root: (root / "metadata.jsonl").write_text("{}"),
        lambda root: (root / "collection.toml").write_text("public = true"),
        lambda root: (root / "broken.md").symlink_to("nowhere"),
        lambda root: os.utime(root / "a.md", ns=(1, 1)),
    ],
    ids=[
        "edited",
        "added",
        "deleted",
        "renamed",
        "queries",
        "judgements",
        "split",
        "metadata",
        "options",
        "unusable",
        "touched",
    ],
)
def test_every_change_of_a_document_is_seen(root: Path, change: object) -> None:
    before = digest(root)
    assert digest(root) == before
    change(root)  # type: ignore[operator]
    assert digest(root) != before


def test_digest_ignores_files_no_run_reads(root: Path) -> None:
    before = digest(root)
    (root / ".hidden.md").write_text("x")
    (root / "picture.png").write_bytes(b"x")
    assert digest(root) == before


def test_unlistable_folder_is_an_error(root: Path) -> None:
    root.chmod(0)
    with permissions_count(), pytest.raises(CorpusError, match=r"collection 'kb'.*can be read"):
        digest(root)


def test_errors_change_the_digest_as_an_edit_does(root: Path) -> None:
    """So that a run lists the issue, and another one clears it."""
    before = digest(root)
    (root / "deep").chmod(0)
    with permissions_count():
        locked = digest(root)
    (root / "deep").chmod(0o700)
    assert digest(root) == before
    (root / "deep").rename(root.parent / "elsewhere")
    assert len({before, locked, digest(root)}) == 3


def test_unreadable_judgements_are_not_missing(root: Path) -> None:
    (root / "qrels.tsv").symlink_to("loop.tsv")
    (root / "loop.tsv").symlink_to("qrels.tsv")
    looping = digest(root)
    (root / "qrels.tsv").unlink()
    assert digest(root) != looping
