"""Dagster's own event log on SQLite, which keeps its connections.

Dagster opens and closes the database for every statement. Closing the last connection of a database makes SQLite write
its log back, so a run of ours, which does so a thousand times, spends a second on it. Nothing else differs: the files
and the tables are the same, and Dagster's own class reads and writes them too, at the same time.

Our own processes open an instance this way (``open_instance``); its ``dagster.yaml`` says nothing of it, so Dagster's
tools need neither us nor a setting. See docs/adr/0013.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

from embedder_assets.instance.compute_logs import TeeComputeLogManager
from embedder_assets.instance.dagster_private import (
    SQLITE_BUSY_TIMEOUT_SECONDS,
    ConfigurableClassData,
    InstanceRef,
    LocalComputeLogManager,
    SqliteEventLogStorage,
)

# The index and a few runs; a webserver looks at many.
MAX_OPEN_DATABASES = 8


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of a ``DAGSTER_HOME``.

    Its event log is kept open where it is Dagster's default, SQLite; so is the terminal where the output of steps is
    captured in local files.
    """
    ref = InstanceRef.from_dir(str(folder))
    log = ref.event_storage_data
    if log is not None and _is_default(ref):
        kept = ConfigurableClassData(__name__, PooledSqliteEventLogStorage.__name__, log.config_yaml)
        # The unified storage would come with an event log of its own; its parts are named next to it.
        ref = ref._replace(event_storage_data=kept, storage_data=None)
    output = ref.compute_logs_data
    if output.class_name == LocalComputeLogManager.__name__:
        tee = ConfigurableClassData(TeeComputeLogManager.__module__, TeeComputeLogManager.__name__, output.config_yaml)
        ref = ref._replace(compute_logs_data=tee)
    return dg.DagsterInstance.from_ref(ref)


def uses_files(folder: Path) -> bool:
    """Whether the instance of a ``DAGSTER_HOME`` keeps its event log in files of SQLite there, Dagster's default."""
    return _is_default(InstanceRef.from_dir(str(folder)))


def _is_default(ref: InstanceRef) -> bool:
    return ref.event_storage_data is not None and ref.event_storage_data.class_name == SqliteEventLogStorage.__name__


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's class, with connections that stay."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._files: dict[str, tuple[int, int] | None] = {}
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PooledSqliteEventLogStorage:
        """The storage of an instance."""
        return cls(inst_data=inst_data, **config_value)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that was there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        """Removes all events."""
        with self._db_lock:
            self._close()
        super().wipe()

    def dispose(self) -> None:
        """Closes everything."""
        super().dispose()
        with self._db_lock:
            self._close()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # One thread at a time, as in Dagster's own.
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                if shard not in self._files:
                    self._files[shard] = _file_id(self.path_for_shard(shard))
                yield connection

    def _engine(self, shard: str) -> Engine:
        self._forget_replaced(shard)
        if shard not in self._engines:
            self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            if len(self._engines) > MAX_OPEN_DATABASES:
                self._forget(next(iter(self._engines)))
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def _forget_replaced(self, shard: str) -> None:
        """Closes a database whose file is not the one that was opened: it was removed, or another is in its place."""
        opened = self._files.get(shard)
        if opened is not None and opened != _file_id(self.path_for_shard(shard)):
            self._forget(shard)
            self._initialized_dbs.discard(shard)
            self._tables.clear()

    def _forget(self, shard: str) -> None:
        self._files.pop(shard, None)
        self._engines.pop(shard).dispose()

    def _close(self) -> None:
        for shard in list(self._engines):
            self._forget(shard)


def _file_id(path: str) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = Path(path).stat()
        return status.st_dev, status.st_ino
    return None
