"""The embedded Triton: the tritonserver binary that the ``nvidia-pytriton`` wheel carries, on our model repository.

It listens on 127.0.0.1 only, on the standard ports or the next free ones, and never outlives its owner: a watchdog
process holds the server and ends it when the owner's end of a pipe closes, ``kill -9`` included. A client
without its secret can infer and no more; see ``access.py``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import platform
import random
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from embedder_assets.atomic_file import write_atomically
from embedder_assets.errors import SettingsError, TritonUnavailableError
from embedder_assets.network import loopback, otlp_env
from embedder_assets.permissions import require_protected
from embedder_assets.sanitize import SecretUrl
from embedder_assets.serving.server.access import ClientAccess, Secret, ServerAccess, TritonAddress, with_secret_of
from embedder_assets.serving.server.child_process import WatchedProcess, last_lines
from embedder_assets.serving.server.watchdog import HIDDEN
from embedder_assets.settings import Settings

READY_TIMEOUT_S = 60
START_ATTEMPTS = 3
SPAN_DELAY_MS = 100
LOGS_KEPT = 20
LOG_LINES_SHOWN = 5
STANDARD_PORTS = {"grpc": 8001, "metrics": 8002}
SERVING_FOLDER = Path(__file__).parents[1]


class EmbeddedTriton:
    """A tritonserver process owned by this process. Use as a context manager, or call ``stop``."""

    def __init__(
        self,
        model_repository: Path,
        state_folder: Path,
        trace_url: SecretUrl | None = None,
        access: ServerAccess | None = None,
        *,
        reuse_ports: bool = False,
    ) -> None:
        """Starts the server and waits until it is ready.

        Args:
            model_repository: The folder that Triton loads models from.
            state_folder: Where backends are linked and the log is kept, usually ``EMBEDDER_HOME/triton``.
            trace_url: Where the server posts the spans of traced requests, OTLP over HTTP; by default where
                OpenTelemetry's variables point to, if that speaks HTTP.
            access: Whom it authorizes; by default everybody on this machine infers, and a client with its secret does
                the rest.
            reuse_ports: Whether it takes the ports of the last published server of this state folder, if they are
                free; other servers leave them to it.

        Raises:
            TritonUnavailableError: The platform has no wheel, or the server did not become ready.
            SettingsError: Other users may write to the model repository.
        """
        require_protected(model_repository, "model_repository")
        self.log_file = _new_log(state_folder / "logs")
        self._trace_url = trace_url or _otlp_url()
        self._access = access or ServerAccess()
        for attempt in range(START_ATTEMPTS):
            free = _free_ports(_last_ports(state_folder), reuse_ports=reuse_ports, after_race=attempt > 0)
            ports = self._start(model_repository, free)
            if self._listens_at(ports):
                return
            self.stop()
            # Another process may have taken a port between our check and the server's bind.
            if "already in use" not in self.log_file.read_text("utf-8", "replace"):
                break
        raise TritonUnavailableError(
            "the embedded Triton server",
            expected=f"readiness within {READY_TIMEOUT_S} s",
            got=" | ".join(last_lines(self.log_file, LOG_LINES_SHOWN)) or "no answer and an empty log",
            remedy=f"Read {self.log_file}; `embedder doctor` checks what the server needs.",
        )

    def _start(self, model_repository: Path, ports: Mapping[str, int]) -> set[int]:
        distribution = _distribution_folder()
        scratch = _scratch_folder()
        # Triton starts its Python stub through a shell line without quotes: it gets paths without spaces.
        repository = scratch / "models"
        repository.symlink_to(model_repository)
        self._server_id = f"embedder_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        command = [
            str(distribution / "bin" / "tritonserver"),
            f"--id={self._server_id}",
            f"--model-repository={repository}",
            f"--backend-directory={_copy_backends(distribution, scratch)}",
            f"--backend-config=python,shm-region-prefix-name={self._server_id}_",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--metrics-interval-ms=500",
            *_tracing(self._trace_url),
            *self._access.options(),
        ]
        for service, port in ports.items():
            command += [f"--{service}-address=127.0.0.1", f"--{service}-port={port}"]
        self._process = WatchedProcess(
            command,
            self.log_file,
            environment={
                **_server_environment(distribution, self._trace_url),
                HIDDEN: json.dumps(self._access.secret_options()),
            },
            scratch=scratch,
            shm_prefix=self._server_id,
        )
        self.ports = dict(ports)
        self.address = TritonAddress(
            grpc=f"127.0.0.1:{ports['grpc']}",
            metrics_url=f"http://127.0.0.1:{ports['metrics']}/metrics",
            log_file=str(self.log_file),
            access=ClientAccess(secret=self._access.secret),
        )
        return set(ports.values())

    def __enter__(self) -> EmbeddedTriton:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process still runs."""
        return self._process.running

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def dead_children(self) -> set[int]:
        """Process ids of the server's children, as those of models, that have died and that it has not reaped."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return {each.pid for each in psutil.Process(self.pid).children() if each.status() == psutil.STATUS_ZOMBIE}
        return set()

    def stop(self, *, at_once: bool = False) -> None:
        """Ends the server and waits for it; calling it twice is harmless.

        Args:
            at_once: The caller has its answers, and nobody else uses the server: it need not unload its models, which
                takes seconds, or wait for a collector that does not answer.
        """
        if self._trace_url and self.running:
            # What the server has not sent yet is lost with it.
            time.sleep(3 * SPAN_DELAY_MS / 1000)
        self._process.stop(at_once=at_once)

    def _listens_at(self, ports: set[int]) -> bool:
        """Waits until the server itself listens at all of them.

        Asking it would take what a client has to show, and whoever answers could be somebody else. Its log is no proof:
        it says "Started" before it binds, and dies of a port that is taken right after.
        """
        import psutil

        deadline = time.monotonic() + READY_TIMEOUT_S
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(psutil.Error):
                sockets = psutil.Process(self.pid).net_connections("tcp")
                if ports <= {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}:
                    return True
            time.sleep(0.02)
        return False


def _otlp_url() -> SecretUrl | None:
    """Where OpenTelemetry's variables point to, if that speaks HTTP."""
    url = otlp_env.http_url(os.environ)
    return SecretUrl(url) if url else None


def _tracing(url: SecretUrl | None) -> list[str]:
    """Options that make the server trace the requests which carry a sampled trace context, and no others.

    The address is in the server's environment: everybody may read a command line.
    """
    if url is None:
        return []
    options = ["mode=opentelemetry", f"opentelemetry,bsp_schedule_delay={SPAN_DELAY_MS}"]
    return [f"--trace-config={option}" for option in (*options, "rate=0", "level=TIMESTAMPS")]


@contextlib.contextmanager
def advertise(server: EmbeddedTriton, state_folder: Path) -> Iterator[None]:
    """While the context lasts, runs on the same home find and use this server.

    What stays: its ports, for the next server, and as targets for Prometheus, which so notices when it is gone.

    Raises:
        TritonUnavailableError: Another living server is advertised there.
    """
    path, secret_file = state_folder / "server.json", state_folder / "secret"
    other = find_running(state_folder)
    if other is not None:
        raise TritonUnavailableError(
            f"`embedder serve` on {state_folder.parent}",
            expected="one server per home",
            got=f"another one at {other.grpc}",
            remedy="Use that one, end it, or set EMBEDDER_HOME to another folder.",
        )
    address = server.address
    if (secret := address.access.secret) is not None:
        write_atomically(secret_file, f"{secret.line}\n", owner_only=True)
    write_atomically(state_folder / "ports.json", json.dumps(server.ports))
    targets = [{"targets": [f"127.0.0.1:{server.ports['metrics']}"]}]
    write_atomically(state_folder.parent / "prometheus" / "triton.json", json.dumps(targets))
    where = {"grpc": address.grpc, "metrics_url": address.metrics_url, "log_file": address.log_file}
    write_atomically(path, json.dumps({"pid": server.pid, "started": _start_of(server.pid), **where}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        secret_file.unlink(missing_ok=True)


def find_running(state_folder: Path) -> TritonAddress | None:
    """The address that a living ``embedder serve`` advertises, with its secret, or None."""
    secret_file = state_folder / "secret"
    try:
        content = json.loads((state_folder / "server.json").read_text("utf-8"))
        # A process id alone may be another process's by now, and its port another server's.
        if _start_of(content.pop("pid")) != content.pop("started"):
            return None
        access = ClientAccess(secret=Secret.read(secret_file) if secret_file.exists() else None)
        host, _, port = content["grpc"].rpartition(":")
    except (OSError, ValueError, KeyError, SettingsError):
        return None
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return TritonAddress(**content, access=access)
    return None


def configured_address(settings: Settings, grpc: str) -> TritonAddress:
    """The server at an address that the settings name, with the secret of this home's server where it is that one.

    Raises:
        SettingsError: A file cannot be used, or a setting is missing that another one needs.
    """
    access = ClientAccess.of(settings)
    running = find_running(settings.home / "triton")
    if running is not None and loopback.is_local(grpc) and grpc.partition(":")[2] == running.grpc.partition(":")[2]:
        access = with_secret_of(running, access)
    return TritonAddress(grpc, access=access)


def _start_of(pid: int) -> str:
    """When a process was started, in ticks of this machine's clock since it was."""
    # Behind the name, which may hold spaces, comes the third field.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _last_ports(state_folder: Path) -> dict[str, int]:
    """Those of the last server that was published there, by service."""
    try:
        found = json.loads((state_folder / "ports.json").read_text("utf-8"))
        return {service: int(found[service]) for service in STANDARD_PORTS}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _distribution_folder() -> Path:
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise TritonUnavailableError(
            "the embedded Triton server",
            expected="the nvidia-pytriton wheel (Linux x86-64)",
            got=f"{platform.system()} {platform.machine()} without it",
            remedy="Start Triton with `COMPOSE_PROFILES=cpu docker compose up triton` (docker-compose.yml) "
            "and set EMBEDDER_TRITON_URL=127.0.0.1:8001.",
        )
    return Path(found.origin).parent / "tritonserver"


def _copy_backends(distribution: Path, target: Path) -> Path:
    """A backend directory with Triton's Python backend, its stub for this interpreter, and ours.

    Copies, because Triton refuses a backend library that is a link out of its directory.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(distribution / "backends" / "python", target / "python")
    shutil.copy2(distribution / "python_backend_stubs" / version / "triton_python_backend_stub", target / "python")
    for backend in (SERVING_FOLDER / "backends").iterdir():
        shutil.copytree(backend, target / backend.name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _server_environment(distribution: Path, trace_url: SecretUrl | None = None) -> dict[str, str]:
    bundled = [distribution.parent.parent / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    libraries = [*bundled, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {
        # In Vertex AI's mode Triton closes gRPC, and opens on all addresses what takes every call of HTTP.
        **{name: value for name, value in os.environ.items() if name != "AIP_MODE"},
        **({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": trace_url.reveal()} if trace_url else {}),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        # The stub's interpreter ignores PYTHONPATH; it finds this environment through the first python3 on PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }


def _free_ports(last: Mapping[str, int], *, reuse_ports: bool, after_race: bool = False) -> dict[str, int]:
    """A port for each service: the last one with ``reuse_ports``, if it is free; no other server takes that one.

    Servers that start together look for the next free port together: after a lost race they look in random order.
    """
    ports: dict[str, int] = {}
    for service, first in STANDARD_PORTS.items():
        kept = [last[service]] if reuse_ports and service in last else []
        taken = {*ports.values(), *(() if reuse_ports else last.values())}
        next_ports = range(first, first + 1000)
        wanted = itertools.chain(kept, random.sample(next_ports, len(next_ports)) if after_race else next_ports)
        ports[service] = next(port for port in wanted if port not in taken and _is_free(port))
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _scratch_folder() -> Path:
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="embedder-triton-", dir="/tmp" if " " in usual else usual))


def _new_log(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("tritonserver-*.log"))[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    log = folder / f"tritonserver-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    # A folder that takes no file is reported here, and not by the watchdog, which opens it again.
    log.touch()
    return log
