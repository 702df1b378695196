"""The long-running stack on one machine: Triton, metrics exporter, Dagster webserver and daemon, as one."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from filelock import Timeout

from embedder_assets.cli.sd_notify import ServiceManager
from embedder_assets.cli.supervise import Component, SupervisedProcess
from embedder_assets.corpus.collections import discover_collections
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.errors import StackError
from embedder_assets.instance.job_origin import CODE_LOCATION
from embedder_assets.network import loopback
from embedder_assets.partitions import register
from embedder_assets.run import dagster_instance
from embedder_assets.serving.models.build import inspect_models
from embedder_assets.serving.models.configured import configured_models, require_models
from embedder_assets.serving.server.embedded import find_running
from embedder_assets.serving.server.supervisor_lock import hold, is_held, supervisor_lock
from embedder_assets.settings import Settings, variable_of

ADDRESS = "127.0.0.1"
POLL_S = 0.5
PORT_SETTINGS = {"exporter": "metrics_port", "webserver": "webserver_port"}


def run_stack(settings: Settings, report: Callable[[str], None]) -> None:
    """Starts everything, says where it is, and starts again what ends; stays until it is interrupted.

    Raises:
        ModelBuildError: A setting names a model that is not in the repository, or is for another stage.
        StackError: A port is taken or meant for two parts, another stack runs on this home, or a part does not come up
            or keeps ending.
    """
    require_models(settings)
    lock = settings.home / "locks" / "stack.lock"
    if is_held(lock):
        raise _second(settings)
    _require_ports(settings)
    for sentence in _unbuilt_models(settings):
        report(sentence)
    try:
        with hold(lock):
            _run(settings, report)
    except Timeout:
        raise _second(settings) from None


def _run(settings: Settings, report: Callable[[str], None]) -> None:
    manager = ServiceManager()
    with ExitStack() as stack:
        with dagster_instance(settings) as instance:
            register(instance, [collection.name for collection in discover_collections(sync_corpus(settings))])
        processes = [SupervisedProcess(part) for part in _components(settings)]
        if not settings.triton_url:
            stack.enter_context(hold(supervisor_lock(settings.home / "triton")))
        for process in processes:
            stack.callback(process.stop)
            process.start()

        def say(sentence: str) -> None:
            report(sentence)
            manager.notify(STATUS=sentence)

        for sentence in _come_up(processes, settings):
            say(sentence)
        manager.notify(READY=1, STATUS="all parts answer")
        stack.callback(manager.notify, STOPPING=1)
        while True:
            for process in processes:
                for sentence in process.poll():
                    say(sentence)
            manager.notify(WATCHDOG=1)
            time.sleep(POLL_S)


def _components(settings: Settings) -> Iterator[Component]:
    scripts, logs, state = Path(sys.executable).parent, settings.home / "logs", settings.home / "triton"
    embedder = str(scripts / "embedder")
    if not settings.triton_url:
        yield Component(
            "Triton",
            [embedder, "serve"],
            logs / "triton.log",
            answers=lambda: find_running(state) is not None,
            may_start=lambda: find_running(state) is None,
            where=lambda: _triton(settings),
        )
    yield Component(
        "the exporter",
        [embedder, "exporter"],
        logs / "exporter.log",
        answers=lambda: _answers(settings.metrics_port),
        where=lambda: f"http://{ADDRESS}:{settings.metrics_port}/metrics",
    )
    webserver = [sys.executable, "-m", "embedder_assets.cli.webserver", "--module-name", CODE_LOCATION]
    yield Component(
        "the webserver",
        [*webserver, "--host", ADDRESS, "--port", str(settings.webserver_port)],
        logs / "webserver.log",
        answers=lambda: _answers(settings.webserver_port),
        where=lambda: f"http://{ADDRESS}:{settings.webserver_port}",
    )
    yield Component(
        "the daemon", [str(scripts / "dagster-daemon"), "run", "--module-name", CODE_LOCATION], logs / "daemon.log"
    )


def _come_up(processes: list[SupervisedProcess], settings: Settings) -> Iterator[str]:
    """Waits for every part, and says for which one; then where they are."""
    for process in processes:
        yield from process.wait_until_ready()
    yield f"Triton:   {_triton(settings)}"
    yield f"Dagster:  http://{ADDRESS}:{settings.webserver_port}"
    yield f"Metrics:  http://{ADDRESS}:{settings.metrics_port}/metrics"
    yield f"Logs:     {settings.home / 'logs'}"
    yield "Ctrl-C ends all of it."


def _unbuilt_models(settings: Settings) -> list[str]:
    """A sentence for each model in use that a run would fail at, or go on without."""
    states = inspect_models(settings.model_repository, names=list(configured_models(settings)), device=settings.device)
    return [
        f"Warning:  model {state.name}: {state.problem}. Run `embedder models build`."
        for state in states
        if state.problem is not None
    ]


def _second(settings: Settings) -> StackError:
    return StackError(
        f"`embedder up` on {settings.home}",
        expected="no other `embedder up` on this home",
        got="one that runs already",
        remedy="Use that one, end it (Ctrl-C in its terminal, or `systemctl stop` of its unit), or set EMBEDDER_HOME.",
    )


def _require_ports(settings: Settings) -> None:
    ports = {part: getattr(settings, setting) for part, setting in PORT_SETTINGS.items()}
    if len(set(ports.values())) < len(ports):
        raise StackError(
            " and ".join(map(variable_of, PORT_SETTINGS.values())),
            expected="a port for each",
            got=f"{next(iter(ports.values()))} for both",
            remedy="Set one of them to another port.",
        )
    for part, port in ports.items():
        _require_free(part, port)


def _require_free(part: str, port: int) -> None:
    setting = variable_of(PORT_SETTINGS[part])
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


def _triton(settings: Settings) -> str:
    """Where it answers gRPC, and where Prometheus finds its metrics."""
    if settings.triton_url:
        return ", ".join(settings.triton_url)
    running = find_running(settings.home / "triton")
    return f"{running.grpc}, metrics: {running.metrics_url}" if running else "gone"


def _answers(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    # Another user may have taken the port since it was free.
    return loopback.owners_of_listener(ADDRESS, port) <= {os.geteuid()}
