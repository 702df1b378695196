"""Asks pip-audit for known vulnerabilities in the lock files: ``make audit``.

Exit status: 0 nothing is known of any package, 1 something is, 3 the advisory database does not answer. pip-audit
itself takes a database that cannot be reached for one that knows nothing, and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, UNREACHABLE = 0, 1, 3
LOCKS = ("requirements.lock", "requirements-dev.lock")
OPTIONS = ("--format", "json", "--no-deps", "--disable-pip", "--progress-spinner", "off")


def main() -> int:
    """Audits every lock file, says what came of it, and returns the worst status."""
    statuses = []
    for lock in LOCKS:
        command = [sys.executable, "-m", "pip_audit", *OPTIONS, "--requirement", lock]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        status, lines = verdict(lock, done.stdout, done.stderr)
        print("\n".join(lines))
        statuses.append(status)
    return max(statuses, key=(CLEAN, UNREACHABLE, VULNERABLE).index)


def verdict(lock: str, report: str, said: str) -> tuple[int, list[str]]:
    """The status of one lock file and the lines that explain it.

    Args:
        lock: Its name.
        report: What pip-audit wrote as JSON; empty where it failed.
        said: What it wrote to standard error.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        reason = said.strip().splitlines()[-1] if said.strip() else "pip-audit said nothing"
        return UNREACHABLE, [f"{lock}: NOT AUDITED, the advisory database does not answer: {reason}"]
    found = [
        f"{lock}: {package['name']} {package['version']}: {each['id']}, mended in {', '.join(each['fix_versions'])}"
        for package in packages
        for each in package.get("vulns", ())
    ]
    if found:
        return VULNERABLE, found
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped or not packages:
        reason = skipped[0]["skip_reason"] if skipped else "no package was looked up"
        return UNREACHABLE, [f"{lock}: NOT AUDITED, {len(skipped)} of {len(packages)} packages: {reason}"]
    return CLEAN, [f"{lock}: nothing is known of {len(packages)} packages"]


if __name__ == "__main__":
    sys.exit(main())
