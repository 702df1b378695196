"""Staged rows: kept until they are published, per table, collection and model."""

import os
import time
from pathlib import Path

import polars as pl

from embedder_assets.tables.digest_ranges import digest_ranges
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import KEPT_DAYS, StagedFiles, delete_files
from tests.support.factories import make_chunks


def test_staged_rows_stay_until_cleared(tmp_path):
    staging = StagedFiles(tmp_path, "chunks", "a/b's", "f1")
    assert staging.read(SCHEMAS["chunks"]).schema == SCHEMAS["chunks"]
    staging.append(make_chunks("one"))
    staging.append(make_chunks("two"))
    again = StagedFiles(tmp_path, "chunks", "a/b's", "f1")
    assert sorted(again.read(SCHEMAS["chunks"])["text"]) == ["one", "two"]
    again.clear()
    assert not staging.read(SCHEMAS["chunks"]).height


def test_staging_ignores_a_file_that_was_not_finished(tmp_path):
    staging = StagedFiles(tmp_path, "chunks", "kb", "f1")
    staging.append(make_chunks("one"))
    (staging.folder / "half.unfinished").write_bytes(b"PAR1")
    assert staging.read(SCHEMAS["chunks"])["text"].to_list() == ["one"]


def test_staging_never_mixes_models_collections_or_tables(tmp_path):
    StagedFiles(tmp_path, "chunks", "kb", "f1").append(make_chunks("one"))
    for other in [("chunks", "kb", "f2"), ("chunks", "kc", "f1"), ("documents", "kb", "f1")]:
        assert not StagedFiles(tmp_path, *other).read(SCHEMAS["chunks"]).height


def test_clearing_one_model_keeps_the_others(tmp_path):
    first, second = (StagedFiles(tmp_path, "chunks", "kb", fingerprint) for fingerprint in ("f1", "f2"))
    for staging in (first, second):
        staging.append(make_chunks("one"))
    first.clear()
    assert [staging.read(SCHEMAS["chunks"]).height for staging in (first, second)] == [0, 1]


def test_only_wanted_staged_columns_are_read(tmp_path):
    staging = StagedFiles(tmp_path, "chunks", "kb", "f1")
    staging.append(make_chunks("one"))
    assert staging.read({"text": pl.String()}).rows() == [("one",)]


def test_unused_staged_rows_expire_after_a_week(tmp_path):
    used, read, unused = (StagedFiles(tmp_path, "chunks", name, "f1") for name in ("used", "read", "unused"))
    week_ago = time.time() - (KEPT_DAYS * 24 + 1) * 3600
    for staging in (used, read, unused):
        staging.append(make_chunks("one"))
    for staging in (read, unused):
        for file in staging.folder.iterdir():
            os.utime(file, (week_ago, week_ago))
    read.read(SCHEMAS["chunks"])
    delete_files(tmp_path)
    assert [staging.read(SCHEMAS["chunks"]).height for staging in (used, read, unused)] == [1, 1, 0]


def test_staged_rows_from_the_future_age_too(tmp_path):
    staging = StagedFiles(tmp_path, "chunks", "kb", "f1")
    staging.append(make_chunks("one"))
    [file] = staging.folder.iterdir()
    ahead = time.time() + 400 * 24 * 3600
    os.utime(file, (ahead, ahead))
    delete_files(tmp_path)
    assert time.time() - 60 < file.stat().st_mtime <= time.time()


def test_staged_rows_are_read_by_digest_range(tmp_path):
    staging = StagedFiles(tmp_path, "chunks", "kb", "f1")
    rows = make_chunks(*[f"text {number}" for number in range(64)])
    ranges = digest_ranges(100_000)
    for part in ranges:
        staging.append(rows.filter(part.rows))
    for part in ranges:
        assert set(staging.read(SCHEMAS["chunks"], part)["text"]) == set(rows.filter(part.rows)["text"])
    assert staging.read(SCHEMAS["chunks"]).height == 64


def test_nothing_staged_means_nothing_to_expire(tmp_path):
    delete_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_the_unreadable_staged_file_is_dropped(tmp_path: Path) -> None:
    staging = StagedFiles(tmp_path, "dense_embeddings", "animals", "f1")
    staging.append(pl.DataFrame({"content_sha256": ["a"]}))
    (staging.folder / "torn.parquet").write_bytes(b"PAR1 and nothing more")
    assert staging.read({"content_sha256": pl.String()})["content_sha256"].to_list() == ["a"]
    assert not (staging.folder / "torn.parquet").exists()
