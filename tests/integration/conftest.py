"""The real parts: the embedded Triton with the built models, and the ``embedder`` command as a process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.server import embedded
from embedder_assets.settings import load_settings
from tests.conftest import PROJECT
from tests.support import loaded
from tests.support.command import Embedder, animals_and_tools_in, environment
from tests.support.processes import own_range
from tests.support.servers.object_store import BUCKET, ObjectStore
from tests.support.servers.object_store import running as object_store_running
from tests.support.servers.postgres import Postgres, binaries, running

TIMEOUT_S = 240


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


@pytest.fixture
def embedder(home: Path, tmp_path: Path) -> Embedder:
    """Runs the command as a user does, in an empty working directory; or another program with its arguments."""

    def run(*arguments: str, program: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
        variables = environment(home, **variables)
        if not program:
            return loaded.run(["embedder", *arguments], variables, tmp_path, TIMEOUT_S)
        return subprocess.run(
            [*program, *arguments], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S
        )

    return run
