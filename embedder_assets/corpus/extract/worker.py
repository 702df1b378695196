"""The process that reads documents for another one: it may hang, crash or fill its memory, and nothing else does.

Usage: ``python -m embedder_assets.corpus.extract.worker FD LIMITS``, with one end of a socket and the limits as JSON.
Both sides speak JSON and bytes, nothing that runs code when it is read.
"""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import sys
from multiprocessing.connection import Connection

from embedder_assets.corpus.extract.formats import extract
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.errors import DocumentError

READY = b"ready"
NO_MEMORY = errno.ENOMEM  # the exit status
# Frames of Python per level of nesting, at most (docutils), and those around them.
_FRAMES_PER_LEVEL = 20
_FRAMES_AROUND = 1000


def main(fd: int, limits: DocumentLimits) -> None:
    """Answers one document after the other until the other end is closed."""
    _confine(limits)
    connection = Connection(fd)
    connection.send_bytes(READY)
    # What the libraries print is for programmers.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    while True:
        try:
            suffix, thing = json.loads(connection.recv_bytes())
            data = connection.recv_bytes()
            _limit_cpu(limits.seconds)
            for frame in _answer(suffix, data, thing, limits):
                connection.send_bytes(frame)
        except MemoryError:
            os._exit(NO_MEMORY)  # nothing that the process has to clean up, and no memory to do it with
        except EOFError:
            return


def _confine(limits: DocumentLimits) -> None:
    sys.setrecursionlimit(_FRAMES_AROUND + _FRAMES_PER_LEVEL * limits.nesting)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(limits.memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no files


def _limit_cpu(seconds: float) -> None:
    """Ends a document that hangs even if nobody is left to end it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _answer(suffix: str, data: bytes, thing: str, limits: DocumentLimits) -> list[bytes]:
    try:
        return extract(suffix, data, thing, limits).to_frames()
    except DocumentError as error:
        parts = {name: getattr(error, name) for name in ("kind", "expected", "got", "remedy")}
        return [json.dumps(parts).encode()]


if __name__ == "__main__":
    main(int(sys.argv[1]), DocumentLimits(**json.loads(sys.argv[2])))
