"""The newest version of a table, whoever wrote it."""

import shutil

import polars as pl
from deltalake import DeltaTable

from embedder_assets.tables.local_storage import Snapshots


def write(folder, value: int) -> None:
    pl.DataFrame({"value": [value]}).write_delta(str(folder), mode="overwrite")


def values(delta: DeltaTable) -> list[int]:
    return pl.scan_parquet(delta.file_uris()).collect()["value"].to_list()


def test_a_table_is_opened_once_while_nobody_commits(tmp_path):
    write(tmp_path / "table", 1)
    snapshots = Snapshots()
    assert snapshots.newest(tmp_path / "table") is snapshots.newest(tmp_path / "table")


def test_commit_of_others_is_seen_next(tmp_path):
    write(tmp_path / "table", 1)
    snapshots = Snapshots()
    assert values(snapshots.newest(tmp_path / "table")) == [1]
    write(tmp_path / "table", 2)
    assert values(snapshots.newest(tmp_path / "table")) == [2]


def test_recreated_table_is_opened_again(tmp_path):
    write(tmp_path / "table", 1)
    snapshots = Snapshots()
    assert values(snapshots.newest(tmp_path / "table")) == [1]
    shutil.rmtree(tmp_path / "table")
    write(tmp_path / "table", 2)
    assert snapshots.newest(tmp_path / "table").version() == 0
    assert values(snapshots.newest(tmp_path / "table")) == [2]


def test_version_without_its_commit_is_reopened(tmp_path):
    write(tmp_path / "table", 1)
    write(tmp_path / "table", 2)
    DeltaTable(tmp_path / "table").create_checkpoint()
    snapshots = Snapshots()
    opened = snapshots.newest(tmp_path / "table")
    for version in (0, 1):
        (tmp_path / "table" / "_delta_log" / f"{version:020}.json").unlink()
    assert snapshots.newest(tmp_path / "table") is not opened
    assert values(snapshots.newest(tmp_path / "table")) == [2]
