"""The whole pipeline with its tables in a bucket, through the command, next to the same on disk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedder_assets.export.export import export_folder, read_manifest
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.integration.storage.test_s3_delivery import delivered, keys
from tests.integration.storage.test_s3_sync import put
from tests.support import loaded
from tests.support.command import BIN, animals_and_tools_in, environment, write
from tests.support.homes import table_differences
from tests.support.model_repositories import exact_variables
from tests.support.processes import free_port
from tests.support.servers.object_store import BUCKET, SECRET, ObjectStore

COLLECTIONS = ("animals", "tools")
CORPUS = f"s3://{BUCKET}/corpus"


@dataclass
class Host:
    """A home, and the address of the tables where they are not in it; then corpus and exports are not either."""

    home: Path
    corpus: Path
    url: str | None
    variables: Mapping[str, str]

    def environment(self, **variables: str) -> dict[str, str]:
        self.home.mkdir(parents=True, exist_ok=True)
        # Tables that hosts share are in int8 whatever the CPU, and those on disk have to equal them.
        own = {"EMBEDDER_METRICS_PORT": str(free_port()), **exact_variables()}
        if self.url:
            own |= {"EMBEDDER_TABLES_URL": self.url, "EMBEDDER_EXPORTS_URL": self.exports_url}
            own["EMBEDDER_CORPUS_URL"] = CORPUS
        else:
            own["EMBEDDER_CORPUS_DIR"] = str(self.corpus)
        return environment(self.home / "state", **{**own, **self.variables, **variables})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BIN / "embedder"), *arguments],
            cwd=self.home,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, status: int = 0, **variables: str) -> str:
        done = loaded.run(["embedder", *arguments], self.environment(**variables), self.home, 240)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def exports_url(self) -> str:
        return f"{self.url}-exports"

    def exports(self, collection: str) -> dict[str, bytes]:
        """File name to content of an export in the home, as its manifest names them."""
        folder = export_folder(self.home / "state", collection)
        manifest = read_manifest(folder)
        assert manifest is not None
        return {entry["name"]: (folder / entry["name"]).read_bytes() for entry in manifest["files"]}

    @property
    def store(self) -> TableStore:
        return TableStore(self.home / "state", self.url)

    def commits(self) -> dict[str, int]:
        store = self.store
        return {table: store.newest(table).version() for table in SCHEMAS if store.exists(table)}


@pytest.fixture(scope="module")
def animals_and_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = animals_and_tools_in(tmp_path_factory.mktemp("corpus"))
    write(folder / "animals" / "qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tcat.md\t1\n")
    return folder


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory, animals_and_tools: Path) -> Host:
    """What the tables have to be."""
    host = Host(tmp_path_factory.mktemp("disk"), animals_and_tools, None, {})
    host.run("run")
    return host


@pytest.fixture(scope="module")
def in_bucket(tmp_path_factory: pytest.TempPathFactory, animals_and_tools: Path, object_store: ObjectStore) -> Host:
    """The same run with corpus, tables and exports in a bucket."""
    with pytest.MonkeyPatch.context() as patched:
        object_store.known_to(patched)
        put(CORPUS, animals_and_tools)
    host = Host(tmp_path_factory.mktemp("host"), animals_and_tools, f"s3://{BUCKET}/alone", object_store.variables)
    said = host.run("run")
    assert f"Tables:   {host.url}" in said
    assert f"exports and {host.exports_url}" in said
    return host


@pytest.fixture(autouse=True)
def reading(monkeypatch: pytest.MonkeyPatch, object_store: ObjectStore) -> None:
    """The tests themselves look into the bucket."""
    object_store.known_to(monkeypatch)


def test_bucket_holds_all_tables_of_a_folder(on_disk: Host, in_bucket: Host) -> None:
    assert table_differences(on_disk.store, in_bucket.store) == []
    assert not (in_bucket.home / "state" / "tables").exists()
    for name in COLLECTIONS:
        assert delivered(in_bucket.exports_url, name) == in_bucket.exports(name)
        assert delivered(in_bucket.exports_url, name).keys() == on_disk.exports(name).keys()


def test_run_of_another_home_commits_nothing(in_bucket: Host, tmp_path: Path) -> None:
    commits = in_bucket.commits()
    other = Host(tmp_path, in_bucket.corpus, in_bucket.url, in_bucket.variables)
    said = other.run("run")
    for stage in ("dense", "sparse", "rerank"):
        assert f"rag.{stage}: skipped (up to date, nothing to compute)" in said
    assert in_bucket.commits() == commits


def test_search_and_operator_commands_use_the_bucket(in_bucket: Host) -> None:
    found = json.loads(in_bucket.run("search", "which animal purrs", "--json"))
    assert found[0]["doc_id"] == "cat.md"
    said = in_bucket.run("doctor")
    assert f"tables: {in_bucket.url} answers" in said
    assert f"exports: {in_bucket.exports_url} answers" in said
    history = json.loads(in_bucket.run("tables", "history", "chunks", "--json"))
    before = in_bucket.store.read("chunks", "animals").sort("chunk_id")
    first = min(each["version"] for each in history if each["collection"] == "animals")
    assert in_bucket.run("tables", "restore", "chunks", "--version", str(first), "--collection", "animals")
    assert in_bucket.store.read("chunks", "animals").sort("chunk_id").equals(before)
    assert "chunks: " in in_bucket.run("tables", "maintain")
    assert in_bucket.store.read("chunks", "animals").sort("chunk_id").equals(before)


def test_no_secret_is_in_what_a_run_leaves(in_bucket: Host) -> None:
    files = [file for file in in_bucket.home.rglob("*") if file.is_file()]
    assert any(file.name == "processing_summary.json" for file in files)
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


@pytest.mark.parametrize("shared", [False, True], ids=["a-collection-each", "all-collections-both"])
def test_two_hosts_make_the_tables_of_one(on_disk: Host, in_bucket: Host, tmp_path: Path, shared: bool) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}"
    hosts = [Host(tmp_path / name, on_disk.corpus, url, in_bucket.variables) for name in ("one", "other")]
    chosen = [[], []] if shared else [["--collection", name] for name in COLLECTIONS]
    running = [host.start("run", *arguments) for host, arguments in zip(hosts, chosen, strict=True)]
    said = [process.communicate(timeout=280)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    assert table_differences(on_disk.store, hosts[0].store) == []
    for name in COLLECTIONS:
        assert delivered(hosts[0].exports_url, name).keys() == on_disk.exports(name).keys()


def test_unauthorized_run_computes_nothing(on_disk: Host, object_store: ObjectStore, tmp_path: Path) -> None:
    host = Host(tmp_path, on_disk.corpus, f"s3://{BUCKET}/{tmp_path.name}", object_store.variables)
    for wrong, expected in (
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "SignatureDoesNotMatch"),
        ({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, "Connection refused"),
        ({"EMBEDDER_TABLES_URL": "s3://no-such-bucket/rag"}, "NoSuchBucket"),
        ({"EMBEDDER_EXPORTS_URL": "s3://no-such-bucket/rag"}, "the exports at s3://no-such-bucket/rag"),
    ):
        said = host.run("run", status=1, **wrong)
        assert expected in said
        assert len(said.strip().splitlines()) == 1, said
        assert "wrong-secret" not in said
    for command in (["search", "cat"], ["doctor"]):
        assert "NoSuchBucket" in host.run(*command, status=1, EMBEDDER_TABLES_URL="s3://no-such-bucket/rag")
    assert not (host.home / "state" / "runs").exists()
    assert not (host.home / "state" / "triton").exists()


def test_dropped_collection_leaves_the_bucket(in_bucket: Host) -> None:
    """Last, since it takes away what the tests before look at."""
    assert "removed: " in in_bucket.run("tables", "drop", "tools", "--yes")
    assert in_bucket.store.collections("chunks") == ["animals"]
    assert {key.split("/")[0] for key in keys(in_bucket.exports_url)} == {"animals"}
