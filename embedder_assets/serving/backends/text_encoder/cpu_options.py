"""Options for models on the CPU: which optimizers of ONNX Runtime are disabled, and on how many cores they run.

Imported inside Triton, where this folder is on the path, and by the project: it imports nothing of either.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# The fused kernels are slower than the operators that they replace: about five times as long as Add and
# LayerNormalization (docs/adr/0007), 1.3 times as long as Add and Gelu (docs/adr/0019). A fusion more or less changes
# the last bit of an answer.
DISABLED_OPTIMIZERS = ["SkipLayerNormFusion", "BiasGeluFusion"]

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """The cores of the process's affinity, and no more than the quota of its control group and of those around it.

    A quota of 1.5 cores counts as 2: a thread that waits for the quota costs less than a core that stays idle. Control
    groups of version 2.
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
