"""What another user of the machine tries, as a program: ``python second_user.py HOME PORTS HELD…``, started as root.

It imports what it needs, becomes uid 65534, tries the ports (with commas between), and prints a JSON object with what
it got. Then it holds hundreds of connections to the ports HELD until its standard input ends.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

NOBODY = 65534
HELD = 500
EVIL = (
    b"open('/tmp/embedder-evil', 'w')\nclass TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
)
CONFIG = {
    "name": "evil",
    "backend": "python",
    "input": [{"name": "I", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "O", "data_type": "TYPE_FP32", "dims": [1]}],
}


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def readable(*folders: Path) -> Iterator[str]:
    """Files that could be opened, and folders that could be listed."""
    for folder in folders:
        for parent, folders_below, names in os.walk(folder):
            yield parent
            for name in (*names, *folders_below):
                try:
                    with Path(parent, name).open("rb") as file:
                        file.read(1)
                    yield str(Path(parent, name))
                except OSError:
                    continue


def writable(*folders: Path) -> Iterator[str]:
    for folder in folders:
        try:
            (folder / "planted").write_text("x")
            yield str(folder)
        except OSError:
            continue


def of_processes(name: str) -> dict[str, str]:
    """What /proc says of all processes but this one, by process id."""
    found = {}
    for file in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            if file.parent.name != str(os.getpid()):
                found[file.parent.name] = file.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
    return found


def connectable() -> list[str]:
    """Sockets of the file system."""
    found = []
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        path = line.partition("/")[1] + line.partition("/")[2]
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                found.append(path)
            except OSError:
                continue
    return found


def clients(port: str) -> list[str]:
    """The other ends of connections to a port, as a proxy would write them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [row[2].rpartition(":")[2] for row in rows if row[3] == "01" and row[1].endswith(f":{int(port):04X}")]
    return [f"127.0.0.1:{int(end, 16)}" for end in ends]


def asked(port: str, path: str, body: dict[str, object] | None = None, claimed: str | None = None) -> str:
    """The status and the text of an HTTP request, or why there was none."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"X-Forwarded-For": claimed} if claimed else {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return f"{response.status} {response.read(2000)!r}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(200)!r}"
    except (OSError, ValueError) as error:
        return str(error)
    except Exception as error:
        return type(error).__name__


def over_http(ports: list[str]) -> dict[str, str]:
    load = {"parameters": {"config": json.dumps(CONFIG), "file:1/model.py": base64.b64encode(EVIL).decode()}}
    paths: dict[str, dict[str, object] | None] = {
        "/v2/repository/models/evil/load": load,
        "/v2/repository/index": {},
        "/v2/logging": {"log_file": "/tmp/embedder-evil-log"},
        "/v2/trace/setting": {"trace_level": ["TIMESTAMPS"]},
        "/graphql": {"query": "{ assetNodes { id } }"},
        "/": None,
        "/server_info": None,
    }
    return {
        f"{port}{path} {claimed}": asked(port, path, body, claimed)
        for port in ports
        for claimed in ("", *clients(port)[:3])
        for path, body in paths.items()
    }


def over_grpc(ports: list[str]) -> dict[str, str]:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    load = {"config": json.dumps(CONFIG), "files": {"file:1/model.py": EVIL}}
    wanted: dict[str, Callable[[InferenceServerClient], object]] = {
        "live": lambda client: client.is_server_live(client_timeout=5),
        "load": lambda client: client.load_model("evil", **load, client_timeout=20),  # type: ignore[arg-type]
        "unload": lambda client: client.unload_model("dense_minilm", client_timeout=20),
        "index": lambda client: client.get_model_repository_index(client_timeout=5),
        "log file": lambda client: client.update_log_settings({"log_file": "/tmp/embedder-evil-log"}, client_timeout=5),
        "trace": lambda client: client.update_trace_settings(settings={"trace_rate": "1"}, client_timeout=5),
        "shared memory": lambda client: client.register_system_shared_memory("m", "/m", 8, client_timeout=5),
        "statistics": lambda client: client.get_inference_statistics(client_timeout=5),
    }
    found = {}
    for port in ports:
        client = InferenceServerClient(f"127.0.0.1:{port}")
        for name, ask in wanted.items():
            try:
                found[f"{port} {name}"] = f"done: {ask(client)}"
            except InferenceServerException as error:
                found[f"{port} {name}"] = f"refused: {error}"
        client.close()
    return found


def hold(ports: list[str]) -> list[socket.socket]:
    """Connections without a request, and with half of one."""
    held = []
    for port in ports:
        for _ in range(HELD // 2):
            held.append(socket.create_connection(("127.0.0.1", int(port)), timeout=10))
        for _ in range(HELD // 2):
            held.append(socket.create_connection(("127.0.0.1", int(port)), timeout=10))
            # The server may have closed it by now.
            with suppress(OSError):
                held[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    return held


def main(home: str, listening: str, *held_ports: str) -> None:
    # Before the rights are gone: the interpreter may lie where nobody else reads.
    import encodings.idna  # noqa: F401

    import tritonclient.grpc  # noqa: F401

    become_nobody()
    temporary = [*Path("/tmp").glob("embedder-triton-*"), *Path("/dev/shm").glob("embedder_*")]
    ports = listening.split(",")
    found = {
        "user": os.getuid(),
        "readable": list(readable(Path(home), *temporary)),
        "shared memory": [str(each) for each in temporary if each.is_file() and os.access(each, os.R_OK)],
        "writable": list(writable(Path(home), *Path(home).parents, *temporary)),
        "command lines": of_processes("cmdline"),
        "environments": of_processes("environ"),
        "sockets": connectable(),
        "http": over_http(ports),
        "grpc": over_grpc(ports),
    }
    print(json.dumps(found), flush=True)
    held = hold(list(held_ports))
    print("holding", flush=True)
    sys.stdin.read()
    for each in held:
        each.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
