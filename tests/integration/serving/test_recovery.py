"""A Triton that fails in the middle: the run goes on, and says what was done. Nothing is lost, nothing is made up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from embedder_assets.errors import TritonUnavailableError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ServerAccess
from embedder_assets.serving.server.embedded import EmbeddedTriton, advertise
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter
from tests.support.command import BIN, Embedder, environment, write
from tests.support.processes import eventually, tritonservers_of
from tests.support.servers.served import inference_counts

pytestmark = pytest.mark.usefixtures("own_ports")

REAL_BACKEND = embedded.SERVING_FOLDER / "backends" / "text_encoder" / "model.py"
MODEL = "dense_minilm"
TEXTS = [f"Text number {number} about nothing in particular." for number in range(240)]


@contextmanager
def session(home: Path, **values: object) -> Iterator[TritonSession]:
    opened = TritonSession(load_settings({"home": (home, "test"), **{k: (v, "test") for k, v in values.items()}}))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def expected(triton: TritonSession) -> np.ndarray:
    return answers(triton, StageMeter("dense", ["kb"]))


def answers(triton: TritonSession, meter: StageMeter, between: Callable[[int], None] = lambda _: None) -> np.ndarray:
    """The vectors of all texts, with something done after each answer."""
    requests = [[(text,) for text in TEXTS[start : start + 8]] for start in range(0, len(TEXTS), 8)]
    parts = []
    for number, answer in enumerate(triton.infer_many(MODEL, requests, observer=meter)):
        parts.append(answer.outputs["embedding"])
        between(number)
    return np.concatenate(parts)


def nothing_in_flight(server: EmbeddedTriton) -> bool:
    """Whether the count of answers stays for a while."""
    before = inference_counts(server.address)
    time.sleep(1)
    return inference_counts(server.address) == before


def mitigations(meter: StageMeter) -> list[str]:
    return [each.kind for each in meter.record().mitigations]


def test_killed_server_is_restarted_without_losing_answers(home: Path, expected: np.ndarray) -> None:
    killed = []

    def kill(number: int) -> None:
        if number in (3, 15):
            killed.append(triton.server_pid)
            os.kill(killed[-1], signal.SIGKILL)

    meter = StageMeter("dense", ["kb"])
    with session(home) as triton:
        found = answers(triton, meter, kill)
        last = triton.server_pid
    assert np.array_equal(found, expected)
    assert mitigations(meter).count("server_restarted") == 2
    assert len({*killed, last}) == 3
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in (*killed, last)))


def test_killed_model_process_is_recovered(home: Path, expected: np.ndarray) -> None:
    def kill(number: int) -> None:
        if number == 5:
            stubs = psutil.Process(triton.server_pid).children(recursive=True)
            assert stubs
            for stub in stubs:
                stub.kill()

    meter = StageMeter("dense", ["kb"])
    with session(home) as triton:
        found = answers(triton, meter, kill)
    assert np.array_equal(found, expected)
    assert set(mitigations(meter)) & {"model_reloaded", "server_restarted"}


# A server that waits for such a process does so for ever: only this says that none does.
@pytest.mark.timeout(120)
@pytest.mark.parametrize("age_s", [0.0, 0.004])
def test_model_dying_at_start_restarts_the_server(home: Path, expected: np.ndarray, age_s: float) -> None:
    killed: list[int] = []
    # The session's server has processes of the same name.
    others = set(psutil.Process().children(recursive=True))

    def kill_the_first() -> None:
        while not killed:
            with suppress(psutil.Error):
                for child in set(psutil.Process().children(recursive=True)) - others:
                    if child.name().startswith("triton_python_b") and not killed:
                        time.sleep(age_s)
                        child.kill()
                        killed.append(child.pid)

    killer = threading.Thread(target=kill_the_first, daemon=True)
    meter = StageMeter("dense", ["kb"])
    with session(home, triton_timeout_s=1000.0) as triton:
        killer.start()
        found = answers(triton, meter)
    killer.join()
    assert np.array_equal(found, expected)
    assert len(killed) == 1


def test_server_that_moved_is_found_again(home: Path, expected: np.ndarray) -> None:
    """As when ``embedder serve`` is ended and started again."""
    settings = load_settings({"home": (home, "test")})
    servers: list[tuple[EmbeddedTriton, object]] = []

    def serve() -> None:
        server = EmbeddedTriton(settings.model_repository, home / "triton")
        context = advertise(server, home / "triton")
        context.__enter__()
        servers.append((server, context))

    def end() -> None:
        server, context = servers.pop()
        context.__exit__(None, None, None)  # type: ignore[attr-defined]
        server.stop()

    def restart(number: int) -> None:
        if number == 4:
            # A request that fails while no server is published makes the session start one of its own.
            assert eventually(lambda: nothing_in_flight(servers[-1][0]))
            end()
            serve()

    meter = StageMeter("dense", ["kb"])
    serve()
    try:
        with session(home) as triton:
            found = answers(triton, meter, restart)
            assert triton.server_pid is None
    finally:
        end()
    assert np.array_equal(found, expected)


def test_server_at_url_is_awaited_until_timeout(home: Path, expected: np.ndarray) -> None:
    repository = load_settings().model_repository
    with EmbeddedTriton(repository, home / "first") as server:
        url = server.address.grpc
    # Nobody is there now, and nobody comes.
    with (
        session(home, triton_url=url, triton_retry_s=1.0) as triton,
        pytest.raises(TritonUnavailableError, match=r"retried for \d s, EMBEDDER_TRITON_RETRY_S"),
    ):
        answers(triton, StageMeter("dense", ["kb"]))
    # Somebody comes a little later, at the same place.
    port = url.rpartition(":")[2]
    started = threading.Event()

    def later() -> None:
        time.sleep(1)
        with EmbeddedTriton(repository, home / "second", access=ServerAccess(secret=None)) as second:
            if second.address.grpc.endswith(f":{port}"):
                started.set()
            finished.wait(60)

    finished = threading.Event()
    waiter = threading.Thread(target=later)
    waiter.start()
    try:
        with session(home, triton_url=url) as triton:
            meter = StageMeter("dense", ["kb"])
            found = answers(triton, meter)
    finally:
        finished.set()
        waiter.join()
    assert started.is_set(), "another process took the port"
    assert np.array_equal(found, expected)
    assert "request_retried" in mitigations(meter)


def test_run_survives_a_killed_triton(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "large"
    rows = [{"_id": f"d{n}", "text": f"Number {n}. " + f"Words about topic {n} and {n * 7}. " * 30} for n in range(400)]
    write(corpus / "many" / "corpus.jsonl", "\n".join(map(json.dumps, rows)))
    run = subprocess.Popen(
        [str(BIN / "embedder"), "run", "--corpus", str(corpus), "--disable-rerank"],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: any((home / "staging" / "dense_embeddings").rglob("*.parquet")), 120)
    (server,) = [pid for pid in tritonservers_of(home) if psutil.Process(pid).name() == "tritonserver"]
    os.kill(server, signal.SIGKILL)
    output, errors = run.communicate(timeout=240)
    assert run.returncode == 0, output + errors
    assert "Traceback" not in output + errors
    store = TableStore(home)
    assert store.count("dense_embeddings", "many") == store.count("chunks", "many") > 0
    kinds = [each["kind"] for each in json.loads((home / "runs" / "latest.json").read_text())["mitigations"]]
    assert "server_restarted" in kinds
    assert eventually(lambda: not tritonservers_of(home))


@pytest.mark.parametrize(
    ("kind", "asset", "words"),
    [
        ("not a number", "dense_embeddings", "expected finite numbers"),
        ("not of unit length", "dense_embeddings", "expected vectors of length 1"),
        ("another dimension", "dense_embeddings", "expected float32 of shape"),
        ("a negative index", "sparse_embeddings", "expected indices from 0 on"),
        ("a negative weight", "sparse_embeddings", "expected weights of 0 or more"),
    ],
)
def test_invalid_answers_are_never_written(
    embedder: Embedder, home: Path, corpus: Path, kind: str, asset: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "SERVING_FOLDER", Path(__file__).parent / "garbage")
        patched.setenv("TEST_REAL_BACKEND", str(REAL_BACKEND))
        patched.setenv("TEST_GARBAGE", kind)
        with EmbeddedTriton(
            load_settings().model_repository, home / "garbage", access=ServerAccess(secret=None)
        ) as server:
            result = embedder(
                *("run", "--corpus", str(corpus), "--disable-rerank"),
                EMBEDDER_TRITON_URL=server.address.grpc,
                EMBEDDER_FALLBACK="none",
            )
    assert result.returncode == 1
    assert f"failed {asset}" in result.stdout
    assert words in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not any((home / "staging" / asset).rglob("*.parquet"))
    assert not TableStore(home).exists(asset)
