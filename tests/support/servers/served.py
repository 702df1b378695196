"""``embedder serve`` as a process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder_assets.serving.server.access import TritonAddress
from embedder_assets.serving.server.embedded import find_running
from tests.support.command import BIN, environment
from tests.support.processes import eventually


@contextmanager
def served(home: Path, **variables: str) -> Iterator[TritonAddress]:
    """While the context lasts; gives what it has published."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "serve.log"
    with log.open("w") as said:
        command = [str(BIN / "embedder"), "serve"]
        process = subprocess.Popen(command, env=environment(home, **variables), cwd=home, stdout=said, stderr=said)
    try:
        assert eventually(lambda: find_running(home / "triton") is not None, 60), log.read_text("utf-8")
        address = find_running(home / "triton")
        assert address is not None
        yield address
    finally:
        process.terminate()
        process.wait(30)
