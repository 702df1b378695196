"""Looks at the process list and at shared memory, for tests that nothing is left behind."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from embedder_assets.network.loopback import get


def processes_of(marker: str) -> list[int]:
    """Process ids whose command line or environment holds a marker, this process and its parents left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        if marker.encode() in words:
            found.append(int(folder.name))
    return found


def tritonservers_of(home: Path) -> list[int]:
    """Tritonserver processes and their Python stubs that belong to a home."""
    names = {"tritonserver", "triton_python_b"}
    return [pid for pid in processes_of(str(home)) if _name(pid) in names]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listened on a moment ago, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    return free_ports(1)[0]


def own_range() -> int:
    """Where a range of 100 ports begins in which no server of another suite on this machine looks for one.

    Below the ports that the kernel gives to connections, above those where Triton's search begins.
    """
    return 20_000 + os.getpid() % 100 * 100


def own_free_ports(count: int) -> list[int]:
    """Ports of this process's own range that are free: no other suite's server takes one when its own has ended."""
    first = own_range()
    return list(itertools.islice((port for port in range(first, first + 100) if _is_free(port)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answers(url: str) -> bool:
    """Whether a server answers there, and well."""
    try:
        get(url, 2).close()
    except OSError:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float = 60.0, pause: float = 0.1) -> bool:
    """Whether a condition comes true within some time; looked at with pauses of so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(pause)
    return condition()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
