"""``embedder up`` with its real parts: what ends is started again, and nothing of it is left at the end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import BIN, animals_and_tools_in, environment
from tests.support.processes import answers, eventually, free_ports, processes_of, tritonservers_of

READY = "Ctrl-C ends all of it."
# What the timeline of the UI asks of a run; it leaves out one whose origin is not a repository that it has loaded.
TIMELINE = """{
  runsOrError(limit: 10) { ... on Runs { results {
    id status startTime pipelineName repositoryOrigin { repositoryName repositoryLocationName } tags { key value }
  } } }
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } jobs { name } } } }
}"""


@dataclass
class Stack:
    """A running ``embedder up``."""

    home: Path
    variables: dict[str, str]
    ports: tuple[int, int]
    process: subprocess.Popen[bytes]
    notified: list[str]

    @property
    def said(self) -> str:
        return (self.home.parent / "up.txt").read_text("utf-8")

    def embedder(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on the same home."""
        command = [str(BIN / "embedder"), *arguments]
        return subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=240)

    def pid(self, program: str, *words: str) -> int:
        """The process of a part, which is a script with these words behind it."""
        wanted = [program, *words]
        for pid in processes_of(str(self.home)):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[1:]
            if [Path(line[0]).name, *line[1 : len(wanted)]] == wanted:
                return pid
        raise AssertionError(f"no process {wanted}")


@contextmanager
def service_manager(address: Path) -> Iterator[list[str]]:
    """Takes what systemd is sent, until the context ends."""
    notified: list[str] = []
    over = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(0.2)

        def listen() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    notified.append(manager.recv(4096).decode())

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield notified
        finally:
            over.set()
            listener.join()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("stack")
    animals_and_tools_in(root / "corpus")
    metrics, webserver = free_ports(2)
    variables = environment(
        root / "home",
        EMBEDDER_CORPUS_DIR=str(root / "corpus"),
        EMBEDDER_METRICS_PORT=str(metrics),
        EMBEDDER_WEBSERVER_PORT=str(webserver),
        NOTIFY_SOCKET=str(root / "notify"),
    )
    with service_manager(root / "notify") as notified, (root / "up.txt").open("wb") as log:
        process = subprocess.Popen([str(BIN / "embedder"), "up"], cwd=root, env=variables, stdout=log, stderr=log)
        stack = Stack(root / "home", variables, (metrics, webserver), process, notified)
        try:
            assert eventually(lambda: READY in stack.said or process.poll() is not None, 120)
            assert process.poll() is None, stack.said
            yield stack
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(90)


def graphql(port: int, query: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
    data: dict[str, Any] = json.loads(connection.getresponse().read())["data"]
    connection.close()
    return data


def test_service_manager_is_notified(stack: Stack) -> None:
    assert eventually(lambda: "WATCHDOG=1" in stack.notified)
    assert stack.notified.index("READY=1\nSTATUS=all parts answer") < stack.notified.index("WATCHDOG=1")


def test_second_one_in_the_same_home_is_refused(stack: Stack) -> None:
    result = stack.embedder("up")
    assert result.returncode == 1
    assert f"`embedder up` on {stack.home}: expected no other `embedder up` on this home" in result.stderr
    assert "Traceback" not in result.stderr


def test_run_waits_for_a_triton_that_was_killed(stack: Stack) -> None:
    (server,) = [pid for pid in tritonservers_of(stack.home) if b"tritonserver" in command_name(pid)]
    os.kill(server, signal.SIGKILL)
    result = stack.embedder("run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert eventually(lambda: "Triton answers again" in stack.said), stack.said
    assert "Triton has ended (exit status 1); it is started again in 1 s" in stack.said
    # The killed one and the one in its place: the run has started none of its own.
    assert len(list((stack.home / "triton" / "logs").glob("tritonserver-*.log"))) == 2


def test_run_of_the_command_is_in_the_timeline(stack: Stack) -> None:
    assert stack.embedder("run", "--collection", "tools").returncode == 0
    data = graphql(stack.ports[1], TIMELINE)
    (repository,) = data["repositoriesOrError"]["nodes"]
    place = {"repositoryName": repository["name"], "repositoryLocationName": repository["location"]["name"]}
    run = data["runsOrError"]["results"][0]
    assert (run["status"], run["repositoryOrigin"]) == ("SUCCESS", place)
    assert run["startTime"] and run["pipelineName"] in {job["name"] for job in repository["jobs"]}
    # The daemon would start it again without the options of the command.
    assert {"key": "dagster/max_retries", "value": "0"} in run["tags"]


def test_killed_parts_restart_on_their_ports(stack: Stack) -> None:
    parts = {
        "the exporter": ("embedder", "exporter"),
        "the webserver": ("-m", "embedder_assets.cli.webserver"),
        "the daemon": ("dagster-daemon", "run"),
        "Triton": ("embedder", "serve"),
    }
    before = len(stack.said)
    killed = {name: stack.pid(*words) for name, words in parts.items()}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name in parts:
        again = f"{name} answers again"
        assert eventually(lambda again=again: again in stack.said[before:], 90), stack.said  # type: ignore[misc]
        assert f"{name} has ended (killed by SIGKILL)" in stack.said[before:]
    assert answers(f"http://127.0.0.1:{stack.ports[0]}/metrics")
    assert graphql(stack.ports[1], "{ version }")
    assert stack.process.poll() is None


def test_end_leaves_no_process(stack: Stack) -> None:
    stack.process.terminate()
    assert stack.process.wait(90) == 0
    assert stack.said.endswith("ended\n") and stack.notified[-1] == "STOPPING=1"
    assert processes_of(str(stack.home)) == []


def command_name(pid: int) -> bytes:
    return Path(f"/proc/{pid}/comm").read_bytes()
