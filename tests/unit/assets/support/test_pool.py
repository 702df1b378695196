"""The slots of the pool of leases: how long a step waits, and what a dead holder leaves."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from embedder_assets.assets.support.pool import Pool
from tests.support.command import BIN


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as made:
        yield made


def test_waiting_lease_says_how_long(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    pool = Pool(instance, tmp_path / "locks", slots=1)
    waited: list[float] = []

    def second() -> None:
        with pool.slot("run-2", "step") as waited_s:
            waited.append(waited_s)

    with pool.slot("run-1", "step") as first:
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.6)
        assert waited == []
    thread.join(10)
    assert first < 0.3
    assert waited[0] > 0.4


HOLDER = """
import sys, time
import dagster as dg
from pathlib import Path
from embedder_assets.assets.support.pool import Pool
with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    with Pool(instance, Path(sys.argv[2]), slots=1).slot("run-1", "step"):
        print("held", flush=True)
        time.sleep(600)
"""


def test_a_holder_that_was_killed_loses_its_lease(
    instance: dg.DagsterInstance, tmp_path: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = python(HOLDER, str(tmp_path / "dagster"), str(tmp_path / "locks"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    taken: list[float] = []

    def next_one() -> None:
        with Pool(instance, tmp_path / "locks", slots=1).slot("run-2", "step") as waited_s:
            taken.append(waited_s)

    thread = threading.Thread(target=next_one, daemon=True)
    thread.start()
    thread.join(20)
    assert taken, "the lease of a dead process was never freed"


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python program, and ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [str(BIN / "python"), "-c", program, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
