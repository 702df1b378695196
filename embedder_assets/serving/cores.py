"""How many cores this process may use: those of its affinity, and no more than its container's quota lets it have."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """The cores of the process's affinity, and no more than the quota of its control group and of those around it.

    A quota of 1.5 cores counts as 2: a thread that waits for the quota costs less than a core that stays idle. Control
    groups of version 2. The backend in Triton, which imports nothing of this project, has the same lines; a test holds
    them together.
    """
    found = [len(os.sched_getaffinity(0))]
    try:
        own = next(line[3:] for line in OWN.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return found[0]
    folder = CGROUPS / own.lstrip("/")
    for each in (folder, *folder.parents):
        try:
            quota, period = (each / "cpu.max").read_text().split()
            found.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return max(1, min(found))
