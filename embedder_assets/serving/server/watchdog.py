"""Runs one command and ends it, children included, as soon as the process that started the watchdog is gone.

Usage: ``python watchdog.py LOG_FILE SCRATCH_FOLDER SHM_PREFIX COMMAND…``, scratch folder and prefix possibly empty.
With a prefix for shared memory, no process of the command widens the permissions of a file. The variable
``EMBEDDER_HIDDEN_ARGUMENTS`` may hold more arguments of the command, as a JSON list: the command gets them, and no list
of processes ever shows them (docs/adr/0028). Standard input is a pipe that the owner holds open. The kernel closes it
when the owner ends in any way, ``kill -9`` included. A byte in it asks for an end at once, without the grace that a
server takes to finish what it does. Standard library only: it starts in a few milliseconds and must not fail for want
of a package.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

GRACE_S = 10
# Added to the number of the signal that ended the command.
SIGNALLED = 128
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
PR_SET_CHILD_SUBREAPER = 36
PTRACE_TRACEME = 0
PTRACE_DETACH = 17
POINTER = 8
HIDDEN = "EMBEDDER_HIDDEN_ARGUMENTS"
# A filter of system calls: of x86-64, fchmod (91) returns 0 and does nothing; everything else is done.
FCHMOD_DOES_NOTHING = (
    (0x20, 0, 0, 4),  # load the architecture
    (0x15, 0, 3, 0xC000003E),  # is it x86-64?
    (0x20, 0, 0, 0),  # load the number of the call
    (0x15, 0, 1, 91),  # is it fchmod?
    (0x06, 0, 0, 0x00050000),  # return the error number 0
    (0x06, 0, 0, 0x7FFF0000),  # do it
)


def main(arguments: list[str]) -> int:
    """Starts the command, writes its pid to standard output, and waits for it or for the owner's end.

    Returns:
        The exit status of the command, or 128 and the number of the signal that ended it.
    """
    log_file, scratch, shm_prefix, *command = arguments
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The command's own children become ours when it dies: some machines' init takes a second to see that they are dead.
    _call("prctl", PR_SET_CHILD_SUBREAPER, 1)
    ends: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)
    child = None
    try:
        child = _start(command, log_file, block_fchmod=bool(shm_prefix))
        print(child.pid, flush=True)
        if _wait_for_end(child):
            ends = ends[1:]
    finally:
        if child is not None:
            _end_group(child, ends)
        if shm_prefix:
            for region in Path("/dev/shm").glob(f"{shm_prefix}*"):
                region.unlink(missing_ok=True)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    # As a shell has it: an exit status has no sign.
    return child.returncode if child.returncode >= 0 else SIGNALLED - child.returncode


def _start(command: list[str], log_file: str, *, block_fchmod: bool) -> subprocess.Popen[bytes]:
    """Starts the command; an error that prevents it is in the log."""
    hidden = json.loads(os.environ.pop(HIDDEN, "[]"))
    # The last ones of the environment, whose strings only its owner can read.
    environment = {**os.environ, **{f"{HIDDEN}_{number}": each for number, each in enumerate(hidden)}}
    preparations = [_die_with_parent, *[_block_fchmod] * block_fchmod, *[_stop_at_exec] * bool(hidden)]
    with Path(log_file).open("ab") as log:
        try:
            child = subprocess.Popen(
                [*command, *["(hidden)"] * len(hidden)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                preexec_fn=lambda: _prepare(preparations, log.fileno()),  # noqa: PLW1509 - this process has one thread
            )
            if hidden:
                _pass_hidden_arguments(child.pid, len(hidden), len(environment))
        except (OSError, subprocess.SubprocessError) as error:
            log.write(f"{command[0]} was not started: {error}\n".encode())
            raise SystemExit(1) from error
    return child


def _prepare(preparations: list[Callable[[], None]], log: int) -> None:
    """In the child, before the command: an exception would reach the parent without its message."""
    try:
        for prepare in preparations:
            prepare()
    except OSError as error:
        os.write(log, f"{error}\n".encode())
        raise


def _die_with_parent() -> None:
    # If the watchdog itself is killed, the kernel ends its child.
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)


def _block_fchmod() -> None:
    """Without it Triton's Python backend would let everybody read the shared memory that texts pass through.

    The Boost library creates a region by the umask, and then widens its permissions with ``fchmod``.
    """
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in FCHMOD_DOES_NOTHING)
    instructions = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("HxxxxxxP", len(FCHMOD_DOES_NOTHING), ctypes.addressof(instructions))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program, len(program)))


def _stop_at_exec() -> None:
    _call("ptrace", PTRACE_TRACEME, 0, None, None)


def _pass_hidden_arguments(pid: int, hidden: int, variables: int) -> None:
    """Gives the command its hidden arguments: it has stopped before its first instruction.

    On its stack lie the number of arguments, their addresses, a zero, and the addresses of the environment. The last
    arguments get the addresses of the last variables' values. The address of the first variable takes the place of
    these: a zero there would hide from the loader what comes after it.
    """
    if not os.WIFSTOPPED(os.waitpid(pid, 0)[1]):
        raise OSError("it has ended before its first instruction")
    process = Path(f"/proc/{pid}")
    # Behind the name, which may hold spaces, comes the third field; 28 is the beginning of the stack.
    stack = int((process / "stat").read_text().rpartition(")")[2].split()[25])
    with (process / "mem").open("r+b", buffering=0) as memory:
        (count,) = _words(memory.fileno(), stack, 1)
        last_arguments = stack + POINTER * (1 + count - hidden)
        first_variable = stack + POINTER * (1 + count + 1)
        last_variables = first_variable + POINTER * (variables - hidden)
        values = [
            address + len(f"{HIDDEN}_{number}=")
            for number, address in enumerate(_words(memory.fileno(), last_variables, hidden))
        ]
        os.pwrite(memory.fileno(), struct.pack(f"{hidden}P", *values), last_arguments)
        harmless = _words(memory.fileno(), first_variable, 1) * hidden
        os.pwrite(memory.fileno(), struct.pack(f"{hidden}P", *harmless), last_variables)
    _call("ptrace", PTRACE_DETACH, pid, None, None)


def _words(memory: int, address: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"{count}P", os.pread(memory, count * POINTER, address))


def _call(function: str, *arguments: object) -> None:
    """A function of the C library, whose numbers are as long as an address."""
    library = ctypes.CDLL(None, use_errno=True)
    longs = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if getattr(library, function)(*longs) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function} is refused ({os.strerror(number)})")


def _wait_for_end(child: subprocess.Popen[bytes]) -> bool:
    """Returns when the command has ended or has to end; whether at once."""
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable:
            return bool(os.read(0, 1))
    return False


def _end_group(child: subprocess.Popen[bytes], ends: tuple[signal.Signals, ...]) -> None:
    for end in ends:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    # Its own children are dying too, and may still be in the middle of something.
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and _is_running(child.pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-child.pid, os.WNOHANG)
        time.sleep(0.02)


def _is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
