"""Holds a CycloneDX bill of materials against its schema and against the lock file: ``sbom.py SBOM LOCK``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def main(sbom: Path, lock: Path) -> str | int:
    """Returns what is wrong, or 0."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = sbom.read_text("utf-8")
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        return f"{sbom}: not a CycloneDX 1.6 document: {str(error).splitlines()[0]}"
    difference = listed(text) ^ locked(lock.read_text("utf-8"))
    if difference:
        return f"{sbom}: differs from {lock} in {sorted(difference)[:5]}"
    print(f"{sbom}: CycloneDX 1.6, {len(listed(text))} packages, those of {lock}")
    return 0


def listed(sbom: str) -> set[tuple[str, str]]:
    """Name and version of every component."""
    return {(component["name"], component["version"]) for component in json.loads(sbom)["components"]}


def locked(lock: str) -> set[tuple[str, str]]:
    """Name and version of every package that a lock file pins."""
    return set(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.+!-]+)", lock, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
