"""Takes a secret out of the command line that ``ps`` shows of a process which has read it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def blot_out(pid: int, secret: str) -> None:
    """Overwrites a secret in the arguments of a process of this user, where the kernel allows it.

    Linux allows it to an ancestor of the process, unless it is hardened further (``kernel.yama.ptrace_scope`` above 1).
    """
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError, ValueError), (process / "mem").open("r+b", buffering=0) as memory:
        # Behind the name, which may hold spaces, comes the third field; 48 and 49 are begin and end of the arguments.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        memory.seek(start)
        for found in re.finditer(re.escape(secret.encode()), memory.read(end - start)):
            memory.seek(start + found.start())
            memory.write(b"*" * len(secret))
