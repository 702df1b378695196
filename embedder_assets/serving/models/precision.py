"""What ``precision.cpu = "auto"`` stands for: chosen when a model is first built, by the CPU, and kept with the build.

bfloat16 through OpenVINO is faster than int8 where the CPU multiplies matrices in it (AMX), and nearly exact;
elsewhere, and for the small sparse model, int8 in ONNX Runtime is faster (docs/adr/0033). The choice decides the
fingerprint, so a host with another CPU keeps the one that it finds, and hosts that share tables make none by their CPU.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

CpuPrecision = Literal["int8", "bf16", "fp32"]
BUILD_RECORD = "build.json"
CHOICE_KEY = "auto_precision"
AMX = "amx_bf16"
# Flags of /proc/cpuinfo that decide which runtime is the fastest, for whoever compares figures of machines.
RUNTIME_FLAGS = (AMX, "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
# Stages whose models gain from AMX; `embedder models tune` measures the others.
AMX_STAGES = ("dense",)


@dataclass(frozen=True)
class Choice:
    """A precision, and why it is not what somebody may expect of this machine; empty where it is."""

    precision: CpuPrecision
    reason: str = ""


def choose(stage: str, flags: Set[str], *, openvino: bool, shared_tables: bool) -> Choice:
    """The precision for a model whose description leaves it open.

    Args:
        stage: Of the model.
        flags: Of the CPU.
        openvino: Whether OpenVINO is installed.
        shared_tables: Whether other hosts write the same tables.
    """
    if AMX not in flags or stage not in AMX_STAGES:
        return Choice("int8")
    if shared_tables:
        return Choice(
            "int8",
            "hosts that share tables (EMBEDDER_TABLES_URL) have to agree, so this CPU's AMX does not count; "
            'precision = { cpu = "bf16" } in model.toml, on all of them, would use it',
        )
    if not openvino:
        return Choice(
            "int8",
            "this CPU has AMX, on which bf16 is faster, but OpenVINO is not installed: `pip install openvino`, "
            'then set precision = { cpu = "bf16" } in model.toml and build again',
        )
    return Choice("bf16", "this CPU has AMX, on which it is faster than int8 (docs/models.md)")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What this machine's CPU can do, in the kernel's words; empty where there is no such file."""
    try:
        lines = cpuinfo.read_text("utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def has_openvino() -> bool:
    """Whether the runtime of bfloat16 is installed next to this process, which is where the embedded Triton looks."""
    return importlib.util.find_spec("openvino") is not None


def recorded_choice(folder: Path) -> CpuPrecision | None:
    """What was chosen for the build in a model folder; None where nothing was, or the record cannot be read."""
    try:
        choice = json.loads((folder / BUILD_RECORD).read_text("utf-8"))[CHOICE_KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if choice in get_args(CpuPrecision) else None
