"""What systemd is sent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from embedder_assets.cli.sd_notify import ServiceManager


@pytest.mark.parametrize("name", ["{tmp_path}/notify", "@embedder-test-{pid}"])
def test_assignments_arrive_as_one_datagram(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = name.format(tmp_path=tmp_path, pid=os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        ServiceManager().notify(READY=1, STATUS="all parts answer")
        assert manager.recv(1024) == b"READY=1\nSTATUS=all parts answer"
    assert "NOTIFY_SOCKET" not in os.environ, "the parts would answer for the stack"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().notify(READY=1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    ServiceManager().notify(READY=1)


def test_manager_that_does_not_listen_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        manager = ServiceManager()
        for _ in range(20):
            manager.notify(WATCHDOG=1)
