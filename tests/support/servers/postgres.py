"""A PostgreSQL of the tests' own: Debian's package, a folder and a port for itself, gone at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

PASSWORD = "a pass/word: with @ signs"
USER = "dagster"
# PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"


@dataclass
class Postgres:
    """A server that can be stopped and started again.

    Attributes:
        binaries: Where `initdb` and `pg_ctl` are.
        folder: Its data, its socket and its log.
        port: On 127.0.0.1.
    """

    binaries: Path
    folder: Path
    port: int
    _as: dict[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """Where it is, by the names that docker/dagster.yaml reads; the database is missing."""
        where = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": USER, "PASSWORD": PASSWORD}
        return {f"DAGSTER_POSTGRES_{name}": value for name, value in where.items()}

    def initialize(self) -> None:
        """Makes the cluster, with a password that has to be given."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, UNPRIVILEGED)
            self._as = {"user": UNPRIVILEGED, "extra_groups": []}
        secret = self.folder / "password"
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)
        self._run("initdb", "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}", "--no-sync")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "timezone": "Asia/Kolkata",  # a server is not always on UTC
            "fsync": "off",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """Ends it at once, as a crash does."""
        self._run("pg_ctl", "stop", "--mode=immediate")

    def database(self, name: str) -> str:
        """Makes an empty database and gives its name."""
        self.query("postgres", f'CREATE DATABASE "{name}"')
        return name

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement, none for one without."""
        address = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
        connection = psycopg2.connect(dbname=database, **address)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _run(self, command: str, *arguments: str) -> None:
        call = [str(self.binaries / command), f"--pgdata={self.folder / 'data'}", *arguments]
        # With a pipe the call would last as long as the server, which inherits it.
        with (self.folder / "calls").open("a+") as said:
            done = subprocess.run(call, cwd="/", stdout=said, stderr=said, timeout=60, **self._as)
        assert done.returncode == 0, (self.folder / "calls").read_text("utf-8")


def binaries() -> Path | None:
    """Where PostgreSQL's programs are: Debian keeps them out of the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def running(programs: Path) -> Iterator[Postgres]:
    """A server while the context lasts. Its folder is not below pytest's, which only root may enter."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="embedder-postgres-") as folder:
        server = Postgres(programs, Path(folder), port)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()
