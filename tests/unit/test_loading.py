"""What an interrupt does while the modules of a command load."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal
from embedder_assets.cli import _loading
with _loading():
    os.kill(os.getpid(), signal.SIGINT)
    print("went on")
"""


def test_an_interrupt_while_modules_load_ends_the_command_without_a_word():
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


def test_afterwards_an_interrupt_is_an_exception_again():
    from embedder_assets.cli import _loading

    with _loading():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
