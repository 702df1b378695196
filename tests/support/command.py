"""The ``embedder`` command as a user starts it, and small corpora for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg

BIN = Path(sys.executable).parent
# The command with a span for each request to Triton, of which it gives one to a twentieth.
TRACING_ALL = (
    sys.executable,
    "-c",
    "from embedder_assets.assets.support import materialize; materialize.REQUEST_TRACE_RATIO = 1; "
    "from embedder_assets.__main__ import main; main()",
)

# Runs the command with some arguments, in an environment with some variables more.
Embedder = Callable[..., subprocess.CompletedProcess[str]]


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "EMBEDDER_HOME": str(home), **variables}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def animals_and_tools_in(folder: Path) -> Path:
    write(folder / "animals" / "cat.md", "# The cat\n\nThe cat is a small predator that purrs and hunts mice.\n")
    write(folder / "animals" / "whale.md", "# The whale\n\nThe whale is a mammal that lives in the sea.\n")
    write(folder / "animals" / "queries.jsonl", '{"_id": "q1", "text": "which animal purrs"}\n')
    write(folder / "tools" / "deep" / "hammer.txt", "A hammer drives nails into wood.\n")
    return folder


def instance_of(home: Path) -> dg.DagsterInstance:
    """The Dagster instance that runs on a home have used, as Dagster's own tools open it; close it."""
    return dg.DagsterInstance.from_config(str(home / "dagster"))
