"""The long-running stack on one machine: Triton, metrics exporter, Dagster webserver and daemon, as one."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from embedder_assets.errors import StackError
from embedder_assets.launch import dagster_instance
from embedder_assets.partitions import register
from embedder_assets.serving.build import inspect_models
from embedder_assets.serving.embedded import find_running
from embedder_assets.serving.watched import WatchedProcess
from embedder_assets.settings import ENV_PREFIX, Settings
from embedder_assets.stages.corpus import discover_collections
from embedder_assets.stages.mirror import fresh_corpus

ADDRESS = "127.0.0.1"
READY_TIMEOUT_S = 60
MODULE = "embedder_assets.definitions"
PORT_SETTINGS = {"exporter": "metrics_port", "webserver": "webserver_port"}


def run_stack(settings: Settings, report: Callable[[str], None]) -> None:
    """Starts everything, says where it is, and stays until it is interrupted or a part ends.

    Raises:
        StackError: A port is taken or meant for two parts, or a part has ended by itself.
    """
    ports = {part: getattr(settings, setting) for part, setting in PORT_SETTINGS.items()}
    _require_different(ports)
    for part, port in ports.items():
        _require_free(part, port)
    for sentence in _unbuilt_models(settings):
        report(sentence)
    with dagster_instance(settings) as instance:
        register(instance, [collection.name for collection in discover_collections(fresh_corpus(settings))])
    logs = settings.home / "logs"
    parts: dict[str, WatchedProcess] = {}
    try:
        for part, command in _commands(settings).items():
            parts[part] = WatchedProcess(command, logs / f"{part}.log", environment=os.environ)
        _wait_until_answering(parts, ports, logs)
        report(f"Triton:   {_triton(settings, parts, logs)}")
        report(f"Dagster:  http://{ADDRESS}:{settings.webserver_port}")
        report(f"Metrics:  http://{ADDRESS}:{settings.metrics_port}/metrics")
        report(f"Logs:     {logs}")
        report("Ctrl-C ends all of it.")
        while True:
            _require_running(parts, logs)
            time.sleep(1)
    finally:
        for process in reversed(parts.values()):
            process.stop()


def _commands(settings: Settings) -> dict[str, list[str]]:
    scripts = Path(sys.executable).parent
    embedded = {} if settings.triton_url else {"triton": [str(scripts / "embedder"), "serve"]}
    return {
        **embedded,
        "exporter": [str(scripts / "embedder"), "exporter"],
        "webserver": [
            *(sys.executable, "-m", "embedder_assets.webserver", "--module-name", MODULE),
            *("--host", ADDRESS, "--port", str(settings.webserver_port)),
        ],
        "daemon": [str(scripts / "dagster-daemon"), "run", "--module-name", MODULE],
    }


def _unbuilt_models(settings: Settings) -> list[str]:
    """A sentence for each model that a run would fail at, or go on without."""
    states = inspect_models(settings.model_repository, device=settings.device)
    return [
        f"Warning:  model {state.description.name}: {state.problem}. Run `embedder models build`."
        for state in states
        if state.problem is not None
    ]


def _require_different(ports: dict[str, int]) -> None:
    if len(set(ports.values())) < len(ports):
        settings = " and ".join(ENV_PREFIX + setting.upper() for setting in PORT_SETTINGS.values())
        raise StackError(
            settings,
            expected="a port for each",
            got=f"{next(iter(ports.values()))} for both",
            remedy="Set one of them to another port.",
        )


def _require_free(part: str, port: int) -> None:
    setting = ENV_PREFIX + PORT_SETTINGS[part].upper()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise StackError(
                f"port {port} of the {part}",
                expected="a free port",
                got=str(error),
                remedy=f"End what listens there (`ss -ltnp` names it), or set {setting}.",
            ) from error


def _require_running(parts: dict[str, WatchedProcess], logs: Path) -> None:
    for part, process in parts.items():
        if not process.running:
            raise StackError(
                f"the {part}",
                expected="to run until Ctrl-C",
                got="it has ended",
                remedy=f"Its last words are in {logs / f'{part}.log'}.",
            )


def _wait_until_answering(parts: dict[str, WatchedProcess], ports: dict[str, int], logs: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    for part, port in ports.items():
        while not _answers(port):
            _require_running(parts, logs)
            if time.monotonic() > deadline:
                raise StackError(
                    f"the {part}",
                    expected=f"an answer on port {port} within {READY_TIMEOUT_S} s",
                    got="none",
                    remedy=f"Read {logs / f'{part}.log'}.",
                )
            time.sleep(0.2)


def _triton(settings: Settings, parts: dict[str, WatchedProcess], logs: Path) -> str:
    """Where it answers gRPC, and where Prometheus finds its metrics."""
    if settings.triton_url:
        return ", ".join(settings.triton_url)
    while (running := find_running(settings.home / "triton")) is None:
        _require_running(parts, logs)
        time.sleep(0.1)
    return f"{running.grpc}, metrics: {running.metrics_url}"


def _answers(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True
