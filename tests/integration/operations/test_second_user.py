"""Another user against the real processes: reads no text and no secret, loads nothing, stops no scrape."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from embedder_assets.network import loopback
from embedder_assets.serving.server.embedded import find_running
from embedder_assets.telemetry.exporter import connections
from tests.support import second_user
from tests.support.command import BIN, environment, write
from tests.support.processes import answers, eventually, free_ports, processes_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

TEXT = "The heron waits at the weir."


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, as a project's often is; pytest's own is for its user only."""
    made = Path(tempfile.mkdtemp(prefix="second-user-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[dict[str, str]]:
    """``embedder up`` with a run behind it, started with the usual umask; its variables."""
    home = folder / "home"
    write(folder / "corpus" / "birds" / "heron.md", f"# The heron\n\n{TEXT}\n")
    metrics, ui = free_ports(2)
    variables = environment(
        home,
        EMBEDDER_CORPUS_DIR=str(folder / "corpus"),
        EMBEDDER_METRICS_PORT=str(metrics),
        EMBEDDER_WEBSERVER_PORT=str(ui),
    )
    command = [str(BIN / "embedder"), "up"]
    with (folder / "up.log").open("w") as log:
        stack = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log, umask=0o022)
    try:
        assert eventually(lambda: "Ctrl-C" in (folder / "up.log").read_text(), 120), (folder / "up.log").read_text()
        run = subprocess.run(
            [str(BIN / "embedder"), "run"], env=variables, cwd=folder, capture_output=True, text=True, umask=0o022
        )
        assert run.returncode == 0, run.stdout + run.stderr
        yield variables
    finally:
        stack.terminate()
        stack.wait(60)


@pytest.fixture(scope="module")
def another(folder: Path, up: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What the other user got, who holds connections to both metrics endpoints meanwhile."""
    program = Path(second_user.__file__)
    for left_over in ("embedder-evil", "embedder-evil-log"):
        Path("/tmp", left_over).unlink(missing_ok=True)
    # A browser of the owner's keeps one, and everybody sees its port.
    browser = socket.create_connection(("127.0.0.1", int(up["EMBEDDER_WEBSERVER_PORT"])))
    browser.sendall(b"GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in browser.recv(1000)
    triton = find_running(Path(up["EMBEDDER_HOME"]) / "triton")
    assert triton is not None
    held = [up["EMBEDDER_METRICS_PORT"], port_of(triton.metrics_url)]
    process = subprocess.Popen(
        [sys.executable, str(program), up["EMBEDDER_HOME"], ",".join(ports_of(up["EMBEDDER_HOME"])), *held],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    try:
        found = json.loads(process.stdout.readline())
        assert process.stdout.readline() == "holding\n"
        assert found["user"] == second_user.NOBODY
        yield found
    finally:
        process.communicate(timeout=30)
        browser.close()


def ports_of(home: str) -> list[str]:
    """Where the processes of a home listen; servers of other suites on this machine are not ours to try."""
    processes = [psutil.Process(pid) for pid in processes_of(home)]
    found = [each.laddr.port for process in processes for each in process.net_connections() if each.status == "LISTEN"]
    return sorted({str(port) for port in found})


def port_of(url: str | None) -> str:
    return str(url).removesuffix("/metrics").rpartition(":")[2]


def secret_of(up: dict[str, str]) -> str:
    running = find_running(Path(up["EMBEDDER_HOME"]) / "triton")
    assert running is not None
    assert running.access.secret is not None
    return running.access.secret.value


def test_it_can_access_neither_home_nor_shared_memory(up: dict[str, str], another: dict[str, Any]) -> None:
    home = Path(up["EMBEDDER_HOME"])
    assert list(home.rglob("*.parquet"))
    assert [path for path in another["readable"] if path.startswith(str(home))] == []
    assert list(Path("/dev/shm").glob("embedder_*"))
    # Those of other suites on this machine are not ours to judge.
    ours = {str(path) for path in Path("/dev/shm").glob("embedder_*") if path.stat().st_mode & 0o077 == 0}
    assert ours
    assert ours & {*another["shared memory"], *another["readable"]} == set()
    assert another["writable"] in ([], ["/tmp"])
    wide = [path for path in (home, *home.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert wide == []


def test_it_sees_no_secret_or_text(up: dict[str, str], another: dict[str, Any]) -> None:
    seen = json.dumps([another["command lines"], another["http"], another["grpc"]])
    assert "tritonserver" in seen
    assert secret_of(up) not in seen
    assert TEXT not in seen
    assert not any(up["EMBEDDER_HOME"] in each for each in another["environments"].values())
    assert not any(path.startswith("/tmp/tmp") for path in another["sockets"])


def test_it_loads_nothing_changes_nothing_and_may_infer(up: dict[str, str], another: dict[str, Any]) -> None:
    running = find_running(Path(up["EMBEDDER_HOME"]) / "triton")
    assert running is not None
    port = running.grpc.rpartition(":")[2]
    answered = {key.partition(" ")[2]: said for key, said in another["grpc"].items() if key.startswith(f"{port} ")}
    assert answered.pop("live") == "done: True"
    assert len(answered) == 7
    assert all("protocol is restricted" in said for said in answered.values()), answered
    assert not [said for said in another["grpc"].values() if said.startswith("done") and said != "done: True"]
    assert not Path("/tmp/embedder-evil").exists()
    assert not Path("/tmp/embedder-evil-log").exists()


def test_only_the_owner_gets_the_ui(up: dict[str, str], another: dict[str, Any]) -> None:
    port = up["EMBEDDER_WEBSERVER_PORT"]
    refused = {key: said for key, said in another["http"].items() if key.startswith(f"{port}/")}
    assert len(refused) >= 14  # without and with a claim to be the owner's connection
    assert all(said.startswith("403 ") for said in refused.values()), refused
    assert answers(f"http://127.0.0.1:{port}/server_info")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        loopback.get(f"http://127.0.0.1:{port}/graphql", 10).close()
    # A picture of another site's page, in the owner's own browser.
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        loopback.get(f"http://127.0.0.1:{port}/graphql?query=mutation", 10, headers=picture).close()


def test_it_stops_no_scrape_and_no_proof(up: dict[str, str], another: dict[str, Any], folder: Path) -> None:
    assert another
    running = find_running(Path(up["EMBEDDER_HOME"]) / "triton")
    assert running is not None
    with loopback.get(str(running.metrics_url), 10) as response:
        assert b"nv_inference_count" in response.read()
    for _ in range(3):
        with loopback.get(f"http://127.0.0.1:{up['EMBEDDER_METRICS_PORT']}/metrics", 10) as response:
            assert b"rag_dense_latency_seconds_count" in response.read()
    write(folder / "corpus" / "birds" / "wren.md", "# The wren\n\nThe wren is small.\n")
    run = subprocess.run([str(BIN / "embedder"), "run"], env=up, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "rag.dense: emitted" in run.stdout
    assert connections.MOST_CONNECTIONS < second_user.HELD
