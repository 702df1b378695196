"""How a command ends on Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

# What a shell reports of a command that SIGINT has ended.
STATUS = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLEAR_LINE_AND_SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"


def exit_immediately() -> None:
    """From now on an interrupt ends the process with a sentence: for where nothing has to be ended with it.

    As an exception it may come up inside a callback of the import system, where Python prints and forgets it.
    """
    for each in _SIGNALS:
        signal.signal(each, _end)


def raise_keyboard_interrupt() -> None:
    """From now on an interrupt is a ``KeyboardInterrupt``, so that everything that was started is ended."""
    for each in _SIGNALS:
        signal.signal(each, signal.default_int_handler)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    words = b"Interrupted.\n"
    os.write(2, _CLEAR_LINE_AND_SHOW_CURSOR + words if os.isatty(2) else words)
    os._exit(STATUS)
