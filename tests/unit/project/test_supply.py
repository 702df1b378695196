"""What the audit and the bill of materials say, without the tools that they are made with."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest

from tests.conftest import PROJECT

FLAW = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
FINE = {"name": "fine", "version": "1.0", "vulns": []}
FLAWED = {"name": "flawed", "version": "2.0", "vulns": [FLAW]}
SKIPPED = {"name": "lost", "skip_reason": "Dependency not found on PyPI and could not be audited: lost (1)"}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROJECT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([FINE], 0, "nothing is known of 1 packages"),
        ([FINE, FLAWED, SKIPPED], 1, "flawed 2.0: PYSEC-1, mended in 2.1"),
        ([FINE, SKIPPED], 3, "NOT AUDITED, 1 of 2 packages: Dependency not found"),
        ([], 3, "NOT AUDITED"),
    ],
)
def test_unchecked_package_is_not_called_clean(packages, status, said):
    found, lines = script("audit").verdict("requirements.lock", json.dumps({"dependencies": packages}), "")
    assert found == status
    assert said in lines[0]


def test_unreachable_database_is_reported():
    found, (line,) = script("audit").verdict("requirements.lock", "", "Traceback …\nConnectionError: no route\n")
    assert found == 3
    assert line.endswith("does not answer: ConnectionError: no route")


def test_bill_of_materials_matches_the_lock_file():
    sbom = script("sbom")
    lock = (PROJECT / "requirements.lock").read_text("utf-8")
    assert len(sbom.locked(lock)) == len(lock.splitlines())
    listed = sbom.listed(json.dumps({"components": [{"name": "a-b", "version": "1.0"}]}))
    assert listed == sbom.locked("a-b[extra]==1.0 ; sys_platform == 'linux'\n")


def test_every_dependency_of_the_tools_is_pinned():
    lines = (PROJECT / "requirements-supply.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w-]+==[\w.]+", line)] == []
