"""What a child process leaves behind, for the tests of this package."""

import uuid
from pathlib import Path

import pytest


@pytest.fixture
def scratch(tmp_path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "file").write_text("left over")
    return folder


@pytest.fixture
def shm():
    """A file in /dev/shm and the prefix of its name."""
    prefix = f"embedder-test-{uuid.uuid4().hex}"
    file = Path("/dev/shm") / f"{prefix}-region"
    file.write_text("x")
    yield file, prefix
    file.unlink(missing_ok=True)
