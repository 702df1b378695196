"""Two real servers: one that is lost, hangs or serves another model costs time and no answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.manifest.file import read_manifest_file
from embedder_assets.telemetry.stage_record import Mitigation, StageMeter
from tests.support.command import BIN, environment, write
from tests.support.processes import eventually

pytestmark = pytest.mark.usefixtures("own_ports")
MODEL, OTHER = "dense_minilm", "sparse_splade"
TEXTS = [f"Text number {number} about nothing in particular." for number in range(160)]
REQUESTS = [[(text,) for text in TEXTS[start : start + 8]] for start in range(0, len(TEXTS), 8)]
TABLES = ("documents", "chunks", "dense_embeddings", "sparse_embeddings", "queries", "fused_candidates")


@contextmanager
def session(home: Path, *servers: EmbeddedTriton, **values: object) -> Iterator[TritonSession]:
    chosen = {"home": home, "triton_url": ",".join(server.address.grpc for server in servers), **values}
    opened = TritonSession(load_settings({name: (value, "test") for name, value in chosen.items()}, environ={}))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def serving(home: Path, repository: Path | None = None) -> Iterator[EmbeddedTriton]:
    server = EmbeddedTriton(
        repository or load_settings(environ={}).model_repository, home / "triton", access=ServerAccess(secret=None)
    )
    try:
        yield server
    finally:
        server.stop(at_once=True)


@pytest.fixture
def pair(home: Path) -> Iterator[list[EmbeddedTriton]]:
    repository = load_settings(environ={}).model_repository
    servers = [
        EmbeddedTriton(repository, home / name / "triton", access=ServerAccess(secret=None))
        for name in ("first", "second")
    ]
    yield servers
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.stop(at_once=True), servers))


@pytest.fixture(scope="module")
def expected(triton: TritonSession) -> np.ndarray:
    return np.concatenate([answer.outputs["embedding"] for answer in triton.infer_many(MODEL, REQUESTS)])


def stream(triton: TritonSession, meter: StageMeter, between: Callable[[int], object] = lambda _: None) -> np.ndarray:
    """The vectors of all texts, with something done after each answer."""
    parts = []
    for number, answer in enumerate(triton.infer_many(MODEL, REQUESTS, observer=meter)):
        parts.append(answer.outputs["embedding"])
        between(number)
    return np.concatenate(parts)


def noted(meter: StageMeter, kind: str) -> list[Mitigation]:
    return [each for each in meter.record().mitigations if each.kind == kind]


def inferences(server: EmbeddedTriton) -> int:
    """Requests to the dense model that a server answered."""
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(server.address.grpc) as client:
        return int(client.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count)


def test_killed_server_is_restored_in_the_pool(
    home: Path, pair: list[EmbeddedTriton], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    meter = StageMeter("dense", ["kb"])
    with ExitStack() as stack, session(home, first, second) as triton:
        assert np.array_equal(stream(triton, meter), expected)
        assert min(inferences(first), inferences(second)) >= len(REQUESTS) // 3
        assert meter.record().mitigations == []
        # Requests are in flight to both.
        found = stream(triton, meter, lambda number: number == 4 and os.kill(first.pid, signal.SIGKILL))
        assert np.array_equal(found, expected)
        assert [each.endpoint for each in noted(meter, "endpoint_ejected")] == [first.address.grpc]
        port = int(first.address.grpc.rpartition(":")[2])
        monkeypatch.setattr(embedded, "STANDARD_PORTS", {**embedded.STANDARD_PORTS, "grpc": port})
        again = stack.enter_context(serving(home / "again"))
        assert again.address.grpc == first.address.grpc, "another process took the port"
        assert eventually(lambda: np.array_equal(stream(triton, meter), expected) and noted(meter, "endpoint_restored"))
        assert [each.endpoint for each in noted(meter, "endpoint_restored")] == [first.address.grpc]
        assert noted(meter, "endpoint_restored")[0].at > noted(meter, "endpoint_ejected")[0].at
        assert np.array_equal(stream(triton, meter), expected)
        assert inferences(again) > 0
        # The other one is not needed any more either.
        os.kill(second.pid, signal.SIGKILL)
        assert np.array_equal(stream(triton, meter), expected)
    assert noted(meter, "request_retried") == []


def test_hanging_server_costs_one_timeout(home: Path, pair: list[EmbeddedTriton], expected: np.ndarray) -> None:
    hanging = pair[1]
    meter = StageMeter("dense", ["kb"])
    with session(home, *pair, triton_timeout_s=3.0) as triton:
        found = stream(triton, meter, lambda number: number == 4 and os.kill(hanging.pid, signal.SIGSTOP))
        os.kill(hanging.pid, signal.SIGCONT)
        assert np.array_equal(found, expected)
        assert [each.endpoint for each in noted(meter, "endpoint_ejected")] == [hanging.address.grpc]
        assert eventually(lambda: np.array_equal(stream(triton, meter), expected) and noted(meter, "endpoint_restored"))


def test_server_with_lost_model_process_is_ejected(
    home: Path, pair: list[EmbeddedTriton], expected: np.ndarray
) -> None:
    def kill(number: int) -> None:
        if number == 4:
            for stub in psutil.Process(pair[0].pid).children(recursive=True):
                stub.kill()

    meter = StageMeter("dense", ["kb"])
    with session(home, *pair) as triton:
        assert np.array_equal(stream(triton, meter, kill), expected)
    (ejected,) = noted(meter, "endpoint_ejected")
    assert (ejected.endpoint, ejected.reason) == (pair[0].address.grpc, "model_crashed")


def test_other_fingerprint_is_refused_by_name(
    home: Path, pair: list[EmbeddedTriton], expected: np.ndarray, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(load_settings(environ={}).model_repository, other)
    right = pair[0]
    with session(home, right) as triton:
        fingerprint = triton.fingerprint(MODEL, "dense")
    for file in (other / MODEL / "config.pbtxt", other / MODEL / "build.json"):
        file.write_text(file.read_text("utf-8").replace(fingerprint, "f" * 16), "utf-8")
    meter = StageMeter("dense", ["kb"])
    with serving(home / "wrong", other) as wrong:
        with session(home, wrong, right) as triton:
            assert np.array_equal(stream(triton, meter), expected)
        assert inferences(wrong) == 0
        (refused,) = noted(meter, "endpoint_refused")
        assert (refused.endpoint, refused.model, refused.reason) == (wrong.address.grpc, MODEL, "other_fingerprint")
        described = other / MODEL / "model.toml"
        described.write_text(described.read_text("utf-8").replace("max_tokens = 256", "max_tokens = 128"), "utf-8")
        with (
            session(home, wrong, right, model_repository=other) as triton,
            pytest.raises(ModelBuildError, match="expected fingerprint") as caught,
        ):
            stream(triton, meter)
    assert wrong.address.grpc in str(caught.value)
    assert right.address.grpc in str(caught.value)


def test_exclusive_lease_covers_both_servers(home: Path, pair: list[EmbeddedTriton]) -> None:
    clients = [TritonClient(server.address, 60) for server in pair]
    with session(home, *pair) as triton:
        list(triton.infer_many(OTHER, [[("one",)]]))
        with triton.models_in_use([MODEL], exclusive=True):
            list(triton.infer_many(MODEL, [[("two",)]]))
            assert [client.loaded_models() for client in clients] == [[MODEL], [MODEL]]
        assert [client.loaded_models() for client in clients] == [[], []]
    for client in clients:
        client.close()


def test_killed_server_does_not_change_the_tables(home: Path, pair: list[EmbeddedTriton], tmp_path: Path) -> None:
    for number in range(40):
        text = f"# Number {number}\n\n" + f"Words about topic {number} and {number * 7}. " * 30
        write(tmp_path / "corpus" / "many" / f"{number}.md", text)
    first, second = (server.address.grpc for server in pair)
    assert run(home, tmp_path, f"{first},{second}", lambda: os.kill(pair[0].pid, signal.SIGKILL)) == 0
    assert run(tmp_path / "one", tmp_path, second) == 0
    for table in TABLES:
        found, wanted = rows(home, table), rows(tmp_path / "one", table)
        assert len(wanted) > 0, table
        assert found.equals(wanted), table
    (ejected,) = [each for each in read_manifest_file(home / "runs" / "latest.json").mitigations if each.endpoint]
    assert (ejected.kind, ejected.endpoint, ejected.reason) == ("endpoint_ejected", first, "triton_unavailable")


def run(home: Path, folder: Path, urls: str, strike: Callable[[], None] | None = None) -> int:
    """The exit status of a run, during which something happens when the first vectors are staged."""
    process = subprocess.Popen(
        [str(BIN / "embedder"), "run", "--corpus", str(folder / "corpus"), "--disable-rerank"],
        env=environment(home, EMBEDDER_TRITON_URL=urls, EMBEDDER_REQUEST_BATCH_SIZE="4"),
        stdout=subprocess.DEVNULL,
    )
    if strike is not None:
        assert eventually(lambda: any((home / "staging" / "dense_embeddings").rglob("*.parquet")), 120)
        strike()
    return process.wait(120)


def rows(home: Path, table: str) -> pl.DataFrame:
    frame = TableStore(home).read(table, "many")
    return frame.sort([name for name in ("query_id", "chunk_id", "doc_id", "model") if name in frame.columns])
