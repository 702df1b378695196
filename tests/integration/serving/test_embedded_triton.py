"""The embedded Triton: where it listens, and that it never outlives its owner."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from embedder_assets.errors import ModelBuildError, TritonUnavailableError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ServerAccess, TritonAddress
from embedder_assets.serving.server.embedded import EmbeddedTriton, find_running
from embedder_assets.settings import Settings, load_settings
from tests.support.command import BIN, environment
from tests.support.processes import eventually, tritonservers_of

# 127.0.0.1 as /proc/net/tcp writes it; an IPv6 socket holds it mapped, at the end.
LOOPBACK = "0100007F"

OWNER = """
import sys, time
from pathlib import Path
from embedder_assets.serving.server.embedded import EmbeddedTriton
server = EmbeddedTriton(Path(sys.argv[1]), Path(sys.argv[2]) / "triton")
print(server.pid, flush=True)
time.sleep(120)
"""


@pytest.fixture
def settings(home: Path) -> Settings:
    return load_settings({"home": (home, "test")}, environ={})


def listening_addresses(pid: int) -> set[str]:
    """Local addresses, as hex, of the TCP sockets that a process listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1].split(":")[0])
    return addresses


def test_server_listens_on_loopback_until_stopped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    with EmbeddedTriton(settings.model_repository, settings.home / "triton") as server:
        addresses = listening_addresses(server.pid)
        assert addresses
        assert all(address.endswith(LOOPBACK) for address in addresses), addresses
        with urllib.request.urlopen(str(server.address.metrics_url), timeout=5) as response:
            assert b"nv_" in response.read()
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()
    assert not list(Path("/dev/shm").glob(f"embedder_{os.getpid()}_*"))
    assert server.log_file.is_relative_to(settings.home)
    assert "Started GRPCInferenceService" in server.log_file.read_text("utf-8", "replace")


def test_two_servers_take_different_ports(settings: Settings) -> None:
    state = settings.home / "triton"
    with (
        EmbeddedTriton(settings.model_repository, state) as first,
        EmbeddedTriton(settings.model_repository, state) as second,
    ):
        assert first.address.grpc != second.address.grpc
        assert first.running
        assert second.running


@pytest.mark.parametrize("service", ["grpc", "metrics"])
def test_port_race_costs_one_restart(settings: Settings, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    free_ports = embedded._free_ports
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        outdated = iter([{service: taken}])
        monkeypatch.setattr(
            embedded,
            "_free_ports",
            lambda last, **options: {**free_ports(last, **options), **next(outdated, {})},
        )
        with EmbeddedTriton(settings.model_repository, settings.home / "triton") as server:
            assert next(outdated, None) is None
            assert f"127.0.0.1:{taken}' already in use" in server.log_file.read_text("utf-8", "replace")
            client = TritonClient(server.address, timeout_s=30)
            client.ensure_loaded("dense_minilm")
            client.close()
            with urllib.request.urlopen(str(server.address.metrics_url), timeout=5) as response:
                assert b"nv_" in response.read()


def test_killed_owner_leaves_no_server(settings: Settings, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(settings.model_repository), str(settings.home)],
        env=environment(settings.home),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert pid in tritonservers_of(settings.home)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert eventually(lambda: not tritonservers_of(settings.home))


def test_platform_without_wheel_names_the_remedy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TritonUnavailableError, match=r"docker-compose\.yml.*EMBEDDER_TRITON_URL"):
        EmbeddedTriton(settings.model_repository, settings.home / "triton")


def test_session_uses_the_server_at_url(triton: TritonSession, tmp_path: Path) -> None:
    list(triton.infer_many("dense_minilm", [[("warm",)]]))
    assert triton.address is not None
    url = triton.address.grpc
    settings = load_settings({"home": (tmp_path, "test"), "triton_url": (url, "test")}, environ={})
    other = TritonSession(settings)
    try:
        assert other.fingerprint("dense_minilm", "dense") == triton.fingerprint("dense_minilm", "dense")
        assert not (tmp_path / "triton").exists()
    finally:
        other.close()


def test_unreachable_address_names_the_remedy() -> None:
    client = TritonClient(TritonAddress("127.0.0.1:9"), timeout_s=5)
    with pytest.raises(TritonUnavailableError, match=r"127\.0\.0\.1:9.*start the run again"):
        client.ensure_loaded("dense_minilm")
    client.close()


def test_serve_publishes_its_address_while_running(settings: Settings) -> None:
    serve = subprocess.Popen(
        [str(BIN / "embedder"), "serve"], env=environment(settings.home), stdout=subprocess.PIPE, text=True
    )
    assert serve.stdout is not None
    line = serve.stdout.readline()
    running = find_running(settings.home / "triton")
    assert running is not None
    assert running.grpc in line
    serve.terminate()
    assert serve.wait(30) == 0
    assert find_running(settings.home / "triton") is None
    assert eventually(lambda: not tritonservers_of(settings.home))


def test_paths_with_spaces_are_served(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "my models"
    spaced.symlink_to(settings.model_repository)
    (tmp_path / "my temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "my temp"))
    with EmbeddedTriton(spaced, settings.home / "triton") as server:
        client = TritonClient(server.address, timeout_s=30)
        client.ensure_loaded("sparse_splade")
        client.close()


def test_server_with_other_model_is_refused(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(settings.model_repository, other)
    described = other / "dense_minilm" / "model.toml"
    described.write_text(described.read_text("utf-8").replace("max_tokens = 256", "max_tokens = 128"), "utf-8")
    with EmbeddedTriton(
        settings.model_repository, settings.home / "triton", access=ServerAccess(secret=None)
    ) as server:
        overrides = {"home": settings.home, "triton_url": server.address.grpc, "model_repository": other}
        session = TritonSession(load_settings({name: (value, "test") for name, value in overrides.items()}, environ={}))
        with pytest.raises(ModelBuildError, match="expected fingerprint"):
            list(session.infer_many("dense_minilm", [[("text",)]]))
        session.close()
