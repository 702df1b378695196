"""Makes permissions count for a test that runs as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_EFFECTIVE = 0  # of the three words: effective, permitted, inheritable


@contextmanager
def permissions_count() -> Iterator[None]:
    """While the context lasts, this thread may read what its user may, also where that user is root."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    before = data[_EFFECTIVE]
    data[_EFFECTIVE] = before & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    try:
        if libc.capset(header, data):
            raise OSError(ctypes.get_errno(), "capset")
        yield
    finally:
        data[_EFFECTIVE] = before
        libc.capset(header, data)
