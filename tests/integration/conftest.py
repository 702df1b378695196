"""The real parts: the embedded Triton with the built models, and the ``embedder`` command as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.server import embedded
from embedder_assets.settings import load_settings
from tests.conftest import PROJECT
from tests.support.object_store import BUCKET, ObjectStore
from tests.support.object_store import running as object_store_running
from tests.support.postgres import Postgres, binaries, running
from tests.support.processes import own_range

BIN = Path(sys.executable).parent

Embedder = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def built_models() -> None:
    build_models(load_settings(environ={}).model_repository)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonSession]:
    """One embedded Triton for all tests of a session."""
    home = tmp_path_factory.mktemp("triton-home")
    session = TritonSession(load_settings({"home": (home, "test")}, environ={}))
    yield session
    session.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of two small collections, one with queries of its own."""
    return animals_and_tools_in(tmp_path / "corpus")


def animals_and_tools_in(folder: Path) -> Path:
    write(folder / "animals" / "cat.md", "# The cat\n\nThe cat is a small predator that purrs and hunts mice.\n")
    write(folder / "animals" / "whale.md", "# The whale\n\nThe whale is a mammal that lives in the sea.\n")
    write(folder / "animals" / "queries.jsonl", '{"_id": "q1", "text": "which animal purrs"}\n')
    write(folder / "tools" / "deep" / "hammer.txt", "A hammer drives nails into wood.\n")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of a session."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL's server (Debian: apt-get install postgresql)")
    with running(programs) as server:
        yield server


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """One server that speaks S3 for all tests of a session."""
    with object_store_running(tmp_path_factory.mktemp("object-store")) as server:
        yield server


@pytest.fixture
def home_on_postgres(tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose Dagster instance is the one of Docker Compose, on a database of its own."""
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    shutil.copy(PROJECT / "docker" / "dagster.yaml", home / "dagster")
    for name, value in {**postgres.variables, "DAGSTER_POSTGRES_DB": postgres.database(tmp_path.name)}.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of this process stand where no other suite's do: the place of one that died stays free."""
    first = own_range()
    ports = {service: first + 10 * number for number, service in enumerate(embedded.STANDARD_PORTS)}
    monkeypatch.setattr(embedded, "STANDARD_PORTS", ports)


@pytest.fixture
def url(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own in the bucket."""
    object_store.known_to(monkeypatch)
    return f"s3://{BUCKET}/{tmp_path.name}"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "EMBEDDER_HOME": str(home), **variables}


@pytest.fixture
def embedder(home: Path, tmp_path: Path) -> Embedder:
    """Runs the command as a user does, in an empty working directory."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "embedder"), *arguments],
            cwd=tmp_path,
            env=environment(home, **variables),
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


def instance_of(home: Path) -> dg.DagsterInstance:
    """The Dagster instance that runs on a home have used, as Dagster's own tools open it; close it."""
    return dg.DagsterInstance.from_config(str(home / "dagster"))
