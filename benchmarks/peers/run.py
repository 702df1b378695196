"""How fast is the pipeline compared with what others use for the same work?

The same documents and the same checkpoint on the same cores: each side is a process of its own, one after the
other, in every round. The peers' models are loaded before their time starts; ours includes the start of Triton. A side
that cannot run is named with its error, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.prepare import prepare
from benchmarks.peers.report import render
from benchmarks.peers.sides.job import Job
from embedder_assets.serving.models.precision import RUNTIME_FLAGS, choose, cpu_flags, has_openvino
from embedder_assets.settings import PROJECT_ROOT

PEERS = PROJECT_ROOT / ".venv-peers" / "bin" / "python"
# Name of a side: its module, its precision, whether it runs in the peers' environment.
SIDES: dict[str, tuple[str, str, bool]] = {
    "ours int8": ("ours", "int8", False),
    "ours bf16": ("ours", "bf16", False),
    "ours fp32": ("ours", "fp32", False),
    "bare loop int8": ("bare_loop", "int8", False),
    "bare loop bf16": ("bare_loop", "bf16", False),
    "bare loop fp32": ("bare_loop", "fp32", False),
    "sentence-transformers fp32": ("sentence_transformers_fp32", "fp32", True),
    "sentence-transformers bf16": ("sentence_transformers_bf16", "fp32", True),
    "fastembed fp32": ("fastembed_graph", "fp32", True),
    "fastembed int8, our graph": ("fastembed_graph", "int8", True),
    "LlamaIndex fp32": ("llamaindex_pipeline", "fp32", True),
    "LlamaIndex bf16": ("llamaindex_bf16", "fp32", True),
    "CocoIndex fp32": ("cocoindex_update", "fp32", True),
    "CocoIndex bf16": ("cocoindex_bf16", "fp32", True),
}
TIMEOUT_S = 3600
PACKAGES = ("sentence-transformers", "fastembed", "llama-index-core", "cocoindex", "torch", "onnxruntime")


def main() -> None:
    """Prints a line per measurement and the table, and writes the result as JSON."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        job, said = prepare(scratch, args.documents)
        names = args.sides or list(SIDES)
        # Makes the chunks for the sides that only embed, and the files of Python and of the models warm.
        errors: dict[str, str] = {}
        run_side("ours int8", job, scratch, errors)
        result: dict[str, Any] = {
            "documents": said,
            "machine": machine(),
            "default": default_precision(),
            "versions": versions(),
            "loads": [],
            "rounds": [],
            "errors": errors,
        }
        for _ in range(args.rounds):
            result["loads"].append(os.getloadavg()[0])
            result["rounds"].append(one_round(names, job, scratch, errors))
            # After every round: a long run that is ended has a result.
            keep(result, args.result)
    print(render(result))
    print(f"Result: {args.result}")


def keep(result: dict[str, Any], path: Path) -> None:
    """Writes the result so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def one_round(names: Sequence[str], job: Job, scratch: Path, errors: dict[str, str]) -> dict[str, Any]:
    """One measurement of every side that has not failed."""
    found: dict[str, Any] = {}
    for name in names:
        if name not in errors and (said := run_side(name, job, scratch, errors)):
            found[name] = said
            rate = said["chunks"] / said["seconds"]
            print(f"{name:<28} {said['seconds']:7.1f} s  {said['chunks']} chunks  {rate:6.1f}/s", flush=True)
    return found


def run_side(name: str, job: Job, scratch: Path, errors: dict[str, str]) -> dict[str, Any] | None:
    """Runs a side; None, and a sentence in ``errors``, where it fails."""
    module, precision, of_peers = SIDES[name]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        file = Path(folder) / "job.json"
        (Path(folder) / "side").mkdir()
        replace(job, precision=precision, scratch=str(Path(folder) / "side")).write(file)
        command = [str(PEERS if of_peers else sys.executable), "-m", f"benchmarks.peers.sides.{module}", str(file)]
        try:
            outcome = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
            if outcome.returncode:
                raise ValueError(outcome.stderr.strip().splitlines()[-1] if outcome.stderr.strip() else "no message")
            said: dict[str, Any] = json.loads(outcome.stdout.strip().splitlines()[-1])
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
            errors[name] = f"{type(error).__name__}: {error}"[:300]
            print(f"{name}: does not run: {errors[name]}", flush=True)
            return None
    return said


def default_precision() -> str:
    """What our dense model is built in here where nobody says otherwise."""
    return choose("dense", cpu_flags(), openvino=has_openvino(), shared_tables=False).precision


def machine() -> str:
    """The processor, which of the flags it has that matter, and how many cores this process may use."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    flags = " ".join(flag for flag in RUNTIME_FLAGS if flag in cpu_flags())
    name = (names or [platform.processor()])[0]
    return f"{name} ({flags or 'no flags known'}), {cores} cores, {time.strftime('%Y-%m-%d %H:%M')}"


def versions() -> dict[str, str]:
    """Package to version in the peers' environment."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.name: d.version for d in m.distributions()}\n"
        "print(json.dumps({n: found.get(n, 'not installed') for n in sys.argv[1:]}))"
    )
    try:
        said = subprocess.run([str(PEERS), "-c", code, *PACKAGES], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return {"all": f"not installed: {error}"}
    found: dict[str, str] = json.loads(said)
    return found


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Our pipeline compared with its peers.")
    parser.add_argument("--documents", type=int, default=1500, help="1500 make about 2050 chunks, 4100 about 5000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), metavar="SIDE")
    parser.add_argument("--result", type=Path, default=PROJECT_ROOT / ".embedder" / "benchmarks" / "peers.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
