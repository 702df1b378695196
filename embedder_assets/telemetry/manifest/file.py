"""Manifests as files: written only if they fit the schema, read in every version that still reads, found by run id."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder_assets.atomic_file import write_atomically
from embedder_assets.errors import TelemetryError
from embedder_assets.telemetry.manifest.json_schema import NOT_WRITTEN, problems_of, schema_error
from embedder_assets.telemetry.manifest.schema import FILE_NAME, LEGACY_VERSION, SCHEMA_VERSION, Manifest
from embedder_assets.telemetry.manifest.v40 import upgrade

LATEST = "latest.json"
NEAREST = 3


def write_manifest(manifest: Manifest, home: Path) -> Path:
    """Writes the manifest of a run and the copy ``runs/latest.json``; returns the path of the first.

    Raises:
        TelemetryError: It does not fit the schema; nothing was written.
    """
    path = home / "runs" / manifest.run_id / FILE_NAME
    document = manifest.model_dump(mode="json", exclude_none=True, warnings=False)
    problems = problems_of(document)
    if problems:
        raise schema_error(f"the manifest of run {manifest.run_id}", problems, remedy=NOT_WRITTEN)
    content = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    for target in (path, home / "runs" / LATEST):
        write_atomically(target, content)
    return path


def read_manifest_file(path: Path) -> Manifest:
    """A manifest from its file; a v4.0 one is read as v4.1, and its ``compatibility`` says so.

    Raises:
        TelemetryError: The file is missing, is no JSON, has an unknown version, or does not fit its version.
    """
    document = _document(path)
    problems = problems_of(document)
    if problems:
        raise schema_error(str(path), problems)
    return Manifest.model_validate(document, strict=True)


def problems_of_file(path: Path) -> list[str]:
    """What does not fit in a manifest's file, each with its JSON path; empty if all fits.

    Raises:
        TelemetryError: The file is missing, is no JSON, or has an unknown version.
    """
    return problems_of(_document(path))


def find_manifest(home: Path, wanted: str | None) -> Path:
    """The file of a manifest, named by its path, its run's folder, or its run id (the first letters will do).

    Args:
        home: The state folder.
        wanted: What the user named; None and `latest` mean the newest.

    Raises:
        TelemetryError: There is no such file or run; the message names the nearest ids.
    """
    runs = home / "runs"
    if wanted is None or wanted == "latest":
        return runs / LATEST
    path = Path(wanted)
    if path.is_file() or path.suffix == ".json":
        return path
    if path.is_dir():
        return path / FILE_NAME
    known = sorted(file.parent.name for file in runs.glob(f"*/{FILE_NAME}"))
    matches = [run_id for run_id in known if run_id.startswith(wanted)]
    if len(matches) == 1:
        return runs / matches[0] / FILE_NAME
    raise _unknown_run(runs, wanted, matches, known)


def _unknown_run(runs: Path, wanted: str, matches: Sequence[str], known: Sequence[str]) -> TelemetryError:
    """The error about a run id that names no run, or several; it names the nearest ones."""

    def likeness(run_id: str) -> float:
        return difflib.SequenceMatcher(None, wanted, run_id[: len(wanted)]).ratio()

    nearest = matches or sorted(known, key=likeness, reverse=True)
    return TelemetryError(
        f"run '{wanted}'",
        expected=f"a run id under {runs}, or the path of a manifest",
        got=f"{len(matches)} runs that begin so" if matches else "no such run",
        remedy=f"The nearest: {', '.join(nearest[:NEAREST])}." if nearest else "`embedder run` makes one.",
    )


def _document(path: Path) -> Any:
    """The parsed file in the form of v4.1."""
    try:
        document = json.loads(path.read_text("utf-8"))
        written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    except FileNotFoundError as error:
        raise TelemetryError(
            str(path),
            expected="a manifest",
            got="no such file",
            remedy="`embedder run` writes one at the end of each run.",
        ) from error
    except (OSError, ValueError) as error:
        raise TelemetryError(
            str(path),
            expected="a manifest in JSON",
            got=str(error),
            remedy="A run writes its manifest whole or not at all: take the one of another run, or run again.",
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == SCHEMA_VERSION:
        return document
    # Early v4.0 writers left the version out, and their own readers took that for v4.0.
    if version == LEGACY_VERSION or (version is None and isinstance(document, dict) and "feature_toggles" in document):
        return {key: value for key, value in upgrade(document, written_at).items() if value is not None}
    raise TelemetryError(
        str(path),
        expected=f"schema_version {SCHEMA_VERSION} or {LEGACY_VERSION}",
        got="none" if version is None else repr(version),
        remedy="Read it with the version of embedder-assets that wrote it, or check that it is a manifest.",
    )
