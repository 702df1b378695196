"""The Python snippets of the README and the how-to pages do what they say, on the output of a real run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT
from tests.support.command import Embedder

PAGE = PROJECT / "docs" / "how-to" / "vector-database.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOLDER = ".embedder/exports/triton-cookbook"
TABLES = ".embedder/tables"


def test_the_snippets_read_exports_and_tables(embedder: Embedder, home: Path, corpus: Path) -> None:
    result = embedder("run", "--collection", "animals", EMBEDDER_CORPUS_DIR=str(corpus))
    assert result.returncode == 0, result.stderr
    # Qdrant's client is in no environment of ours: the page says with which one its snippet was run.
    parquet, numpy = (code for code in SNIPPET.findall(PAGE.read_text("utf-8")) if "qdrant_client" not in code)
    assert "cat.md" in output_of(parquet, home)
    assert output_of(numpy, home) == "(2, 384) True\n"
    (readme,) = SNIPPET.findall((PROJECT / "README.md").read_text("utf-8"))
    assert " -> " in output_of(readme, home)


def output_of(code: str, home: Path) -> str:
    assert FOLDER in code or TABLES in code
    code = code.replace(FOLDER, str(home / "exports" / "animals")).replace(TABLES, str(home / "tables"))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout
