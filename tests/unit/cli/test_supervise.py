"""A process that is kept running: what happens when it ends, when it keeps ending, and when it does not come up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedder_assets.cli import supervise
from embedder_assets.cli.supervise import Component, SupervisedProcess
from embedder_assets.errors import StackError
from tests.support.processes import eventually, processes_of

# Says which start it is, and stays.
STAYS = "echo started >> starts; exec sleep 600"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "INITIAL_BACKOFF_S", 0.01)
    monkeypatch.setattr(supervise, "MAX_BACKOFF_S", 0.05)


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SupervisedProcess]]:
    """Starts a shell line under supervision."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARK_OF_THIS_TEST", str(tmp_path))
    made: list[SupervisedProcess] = []

    def start(line: str, **options: object) -> SupervisedProcess:
        component = Component("the component", ["sh", "-c", line], tmp_path / "component.log", **options)  # type: ignore[arg-type]
        made.append(SupervisedProcess(component))
        made[-1].start()
        return made[-1]

    yield start
    for process in made:
        process.stop()
    assert processes_of(f"MARK_OF_THIS_TEST={tmp_path}") == []


def starts(tmp_path: Path) -> int:
    file = tmp_path / "starts"
    return len(file.read_text().splitlines()) if file.exists() else 0


def pid_of(process: SupervisedProcess) -> int:
    assert process._process is not None
    return process._process.pid


def test_killed_process_is_started_again(tmp_path: Path, supervised: Callable[..., SupervisedProcess]) -> None:
    process = supervised(STAYS, where=lambda: "at its place")
    said = list(process.wait_until_ready())
    assert eventually(lambda: starts(tmp_path) == 1)
    os.kill(pid_of(process), signal.SIGKILL)
    assert eventually(lambda: bool(said.extend(process.poll()) or "answers again" in "".join(said[-1:])))
    assert eventually(lambda: starts(tmp_path) == 2)
    assert said == [
        "the component has ended (killed by SIGKILL); it is started again in 0 s. "
        f"Its log {tmp_path / 'component.log'} ends with: (nothing)",
        "the component answers again: at its place",
    ]


def test_a_process_that_keeps_ending_is_given_up(
    supervised: Callable[..., SupervisedProcess],
) -> None:
    process = supervised(
        "for each in 1 2 3; do echo \"reason $each\"; done; printf '\\033[31mred\\033[0m\\007'; exit 3"
    )

    def look_until_given_up() -> None:
        while True:
            list(process.poll())
            time.sleep(0.01)

    with pytest.raises(StackError) as caught:
        look_until_given_up()
    assert "5 ends within 300 s, the last one: exit status 3" in caught.value.got
    assert caught.value.got.endswith("its log ends with: reason 1 | reason 2 | reason 3 | red")
    assert "component.log" in caught.value.remedy


def test_pauses_grow_and_old_ends_are_forgotten(
    supervised: Callable[..., SupervisedProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "INITIAL_BACKOFF_S", 1.0)
    monkeypatch.setattr(supervise, "MAX_BACKOFF_S", 6.0)
    process = supervised("exit 1")
    words = [process._ended(at, "why") for at in (0.0, 10.0, 20.0, 30.0, 400.0, 410.0)]
    assert [each.split("started again in ")[1].split(".")[0] for each in words] == [
        "1 s",
        "2 s",
        "4 s",
        "6 s",
        "1 s",
        "2 s",
    ]


def test_a_part_that_does_not_start_is_named(tmp_path: Path, supervised: Callable[..., SupervisedProcess]) -> None:
    (tmp_path / "component.log").write_text("of the last time\n")
    process = supervised("echo no such option >&2; exit 2", answers=lambda: False)
    with pytest.raises(StackError, match=r"to start, got its end \(exit status 2") as caught:
        list(process.wait_until_ready())
    assert "no such option" in caught.value.got
    assert "of the last time" not in caught.value.got


def test_waiting_message_shows_last_log_line(
    supervised: Callable[..., SupervisedProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "REPORT_EVERY_S", 0.3)
    monkeypatch.setattr(supervise, "READY_TIMEOUT_S", 2.0)
    process = supervised("echo loading modules; exec sleep 600", answers=lambda: False)
    waiting = process.wait_until_ready()
    assert next(waiting) == "waiting for the component … 0 s (its log: loading modules)"
    with pytest.raises(StackError, match="an answer within 2 s, got none"):
        list(waiting)


def test_unanswered_start_counts_as_an_end(
    tmp_path: Path, supervised: Callable[..., SupervisedProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True]
    process = supervised(STAYS, answers=lambda: answers[0])
    list(process.wait_until_ready())
    answers[0] = False
    monkeypatch.setattr(supervise, "READY_TIMEOUT_S", 0.2)
    os.kill(pid_of(process), signal.SIGKILL)
    said: list[str] = []
    assert eventually(lambda: bool(said.extend(process.poll()) or any("no answer within" in each for each in said)))
    assert eventually(lambda: bool(list(process.poll()) or starts(tmp_path) >= 3))


def test_foreign_process_on_the_port_is_detected(tmp_path: Path, supervised: Callable[..., SupervisedProcess]) -> None:
    answers = [True]
    process = supervised(STAYS, answers=lambda: answers[0])
    list(process.wait_until_ready())
    assert eventually(lambda: starts(tmp_path) == 1)
    os.kill(pid_of(process), signal.SIGKILL)
    said: list[str] = []
    assert eventually(lambda: bool(said.extend(process.poll()) or len(said) == 3))
    assert "has ended (killed by SIGKILL)" in said[0]
    assert all("the component was not started (something else answers at its place)" in each for each in said[1:])
    assert starts(tmp_path) == 1
    answers[0] = False
    assert eventually(lambda: bool(list(process.poll()) or starts(tmp_path) == 2))
    answers[0] = True
    assert eventually(lambda: bool(said.extend(process.poll()) or said[-1] == "the component answers again"))


def test_part_hanging_at_start_is_given_up(
    supervised: Callable[..., SupervisedProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "READY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(supervise, "WITHIN_S", 0.3)  # the starts take longer than this, as real ones do
    answers = [True]
    process = supervised(STAYS, answers=lambda: answers[0])
    list(process.wait_until_ready())
    answers[0] = False
    os.kill(pid_of(process), signal.SIGKILL)

    def look_until_given_up() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            list(process.poll())
            time.sleep(0.02)

    with pytest.raises(StackError, match="an answer within 0 s, got none at 5 starts in a row"):
        look_until_given_up()


def test_next_start_waits_until_the_place_is_free(tmp_path: Path, supervised: Callable[..., SupervisedProcess]) -> None:
    free = [False]
    process = supervised(STAYS, may_start=lambda: free[0])
    list(process.wait_until_ready())
    assert eventually(lambda: starts(tmp_path) == 1)
    os.kill(pid_of(process), signal.SIGKILL)
    assert eventually(lambda: bool(list(process.poll())))
    time.sleep(0.1)
    assert list(process.poll()) == []
    assert starts(tmp_path) == 1
    free[0] = True
    assert eventually(lambda: bool(list(process.poll()) or starts(tmp_path) == 2))


def test_killed_watchdog_leaves_no_process(tmp_path: Path, supervised: Callable[..., SupervisedProcess]) -> None:
    process = supervised("sleep 600 & exec sleep 600")
    mark = f"MARK_OF_THIS_TEST={tmp_path}"
    assert eventually(lambda: len(processes_of(mark)) == 3)
    assert process._process is not None
    os.kill(process._process._watchdog.pid, signal.SIGKILL)
    assert eventually(lambda: process._how_it_ended() == "killed by SIGKILL")
    process.stop()
    assert eventually(lambda: processes_of(mark) == [])


def test_signal_and_exit_status_are_distinguished(tmp_path: Path) -> None:
    ends = {"exit 0": "exit status 0", "exit 77": "exit status 77", "kill -TERM $$": "killed by SIGTERM"}
    for line, words in ends.items():
        process = SupervisedProcess(Component("the component", ["sh", "-c", line], tmp_path / "log"))
        process.start()
        assert process._process is not None
        assert eventually(lambda process=process: not process._process.running)
        assert process._how_it_ended() == words
        process.stop()


def test_program_that_is_not_there(tmp_path: Path) -> None:
    process = SupervisedProcess(
        Component("the component", [str(tmp_path / "gone")], tmp_path / "log", answers=lambda: False)
    )
    process.start()
    with pytest.raises(StackError, match="the component: expected to start"):
        list(process.wait_until_ready())
    process.stop()
