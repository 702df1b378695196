"""What an interrupt does from the first to the last moment of a command."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
from rich.live import Live

from embedder_assets.cli import display, interrupt

INTERRUPTED = """
import os, signal
from embedder_assets.cli.main import _loading
with _loading():
    os.kill(os.getpid(), signal.SIGINT)
    print("went on")
"""
# The interpreter waits for a thread when the command is done, as it does for the pools of some libraries. A signal in
# the very moment in which it begins to wait is seen with the next one only.
AT_THE_END = """
import os, signal, sys, threading, time
from embedder_assets.__main__ import main
def late():
    threading.main_thread().join()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
threading.Thread(target=late).start()
sys.argv = ["embedder", "--version"]
main()
"""


@pytest.fixture(autouse=True)
def handlers_as_before():
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_interrupt_while_modules_load() -> None:
    result = python(INTERRUPTED)
    assert (result.returncode, result.stdout, result.stderr) == (interrupt.STATUS, "", "Interrupted.\n")


def test_interrupt_while_the_interpreter_shuts_down() -> None:
    result = python(AT_THE_END)
    assert (result.returncode, result.stderr) == (interrupt.STATUS, "Interrupted.\n")


def test_interrupt_of_the_first_drawing_ends_the_bars(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def interrupted(_):
        raise KeyboardInterrupt

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Live, "process_renderables", lambda *_: interrupted(_))
    with pytest.raises(KeyboardInterrupt), display.progress():
        pass
    assert sys.stderr is terminal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_of_work_is_an_exception(number: signal.Signals) -> None:
    interrupt.exit_immediately()
    interrupt.raise_keyboard_interrupt()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
