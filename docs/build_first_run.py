"""Writes what a first run over the sample corpus prints into ``README.md``: ``python docs/build_first_run.py``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(?<=<!-- output:begin -->\n```\n).*(?=```\n<!-- output:end -->)", re.DOTALL)


def first_run() -> str:
    """The output of a run with the default settings in an empty folder.

    Raises:
        subprocess.CalledProcessError: The run failed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDDER_", "DAGSTER_"))}
    command = [str(Path(sys.executable).with_name("embedder")), "run"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout.replace(f"{folder}/", "")


if __name__ == "__main__":
    output = first_run()
    TARGET.write_text(BLOCK.sub(lambda _: output, TARGET.read_text("utf-8")), "utf-8")
