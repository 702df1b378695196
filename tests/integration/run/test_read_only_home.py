"""A home on a file system that nobody may write: one sentence a command, and the tables as before."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.command import BIN, Embedder, environment, write

# A mount of its own over the home, for one command. A user who is not root becomes one inside.
READ_ONLY = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
REMOUNT = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


def read_only(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    whole = [*READ_ONLY, REMOUNT, "sh", str(home), *command]
    return subprocess.run(whole, env=environment(home), cwd=home.parent, capture_output=True, text=True, timeout=120)


def tables(home: Path) -> dict[str, str]:
    files = (path for path in (home / "tables").rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_read_only_home_is_named_by_each_command(embedder: Embedder, home: Path, corpus: Path) -> None:
    assert embedder("run", "--corpus", str(corpus)).returncode == 0
    if read_only(home, "true").returncode:
        pytest.skip("this user may not make a mount of their own (unshare --map-root-user --mount)")
    before = tables(home)
    write(corpus / "animals" / "otter.md", "# The otter\n\nThe otter juggles pebbles.\n")
    for command in (["run", "--corpus", str(corpus)], ["search", "an animal"], ["serve"]):
        said = read_only(home, str(BIN / "embedder"), *command)
        assert said.returncode == 1, (command, said.stdout, said.stderr)
        assert "Traceback" not in said.stderr
        assert "Read-only file system" in said.stderr, (command, said.stderr)
        assert str(home) in said.stderr
    said = read_only(home, str(BIN / "embedder"), "run", "--corpus", str(corpus))
    assert "Set EMBEDDER_HOME to a folder that you may write" in said.stderr
    assert tables(home) == before
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0, result.stdout + result.stderr
    assert tables(home) != before
