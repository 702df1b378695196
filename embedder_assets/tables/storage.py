"""Where the tables are: in a folder of this machine, or in a bucket that several hosts write."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from deltalake import DeltaTable

from embedder_assets.tables.local_storage import LocalStorage
from embedder_assets.tables.s3_storage import S3Storage
from embedder_assets.tables.staging import Staging


class TableStorage(Protocol):
    """What the tables need of where they are.

    Attributes:
        shared: Whether hosts with other homes, and so with other locks, may commit too.
    """

    shared: bool

    @property
    def reading(self) -> dict[str, str] | None:
        """The options with which polars reads a file there; None where it needs none."""
        ...

    @property
    def writing(self) -> dict[str, str] | None:
        """The options with which delta-rs writes there, in the same way."""
        ...

    def __str__(self) -> str:
        """As a person names it."""
        ...

    def address(self, table: str) -> str:
        """What delta-rs takes to find a table."""
        ...

    def exists(self, table: str) -> bool:
        """Whether the table has been written."""
        ...

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """A version of a table, by default the newest, of the caller's own."""
        ...

    def newest(self, table: str) -> DeltaTable:
        """The newest version of a table; read it only, others hold it too."""
        ...

    def file(self, table: str, name: str) -> str:
        """What polars takes to find a file, named as in the table's log."""
        ...

    def staging(self, table: str, collection: str, fingerprint: str) -> Staging | None:
        """Where the hosts that share the tables stage rows together; None where the tables are one home's."""
        ...

    def delete_staged(self, collection: str | None = None) -> None:
        """Removes what is staged together of a collection; by default, of any, what is over a week old."""
        ...

    def check_access(self) -> None:
        """Returns where the tables can be looked at, quickly.

        Raises:
            OSError: They cannot.
        """
        ...


def storage_of(home: Path, url: str | None) -> TableStorage:
    """The folder ``tables`` of a home, or what an address names instead."""
    return LocalStorage(home / "tables") if url is None else S3Storage(url)
