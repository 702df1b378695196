"""A network of its own for a process, as on another machine; what listens here is reached through a relay.

The relay's sockets listen on 127.0.0.1 inside the other network and connect on 127.0.0.1 of this one, so that nothing
has to listen anywhere else.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 16


def to_be_had() -> bool:
    """Whether this user may make networks on this machine."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    return subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0


@contextmanager
def network(ports: Sequence[int]) -> Iterator[list[str]]:
    """A network while the context lasts, in which some ports of this one are there too.

    Gives the words before a command that make it run there.
    """
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    listeners: list[socket.socket] = []
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        place = Path(f"/proc/{holder.pid}/ns/net")
        for port in ports:
            # A thread that goes there and ends; the socket stays what it is.
            with ThreadPoolExecutor(1) as pool:
                listeners.append(pool.submit(_listen, place, port).result())
            threading.Thread(target=_accept, args=(listeners[-1], port), daemon=True).start()
        yield ["nsenter", f"--net={place}"]
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        holder.kill()
        holder.wait()


def _listen(place: Path, port: int) -> socket.socket:
    """A socket of another network, into which this thread goes for good."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {place}")
    finally:
        os.close(descriptor)
    return socket.create_server(("127.0.0.1", port))


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:  # shut down
            return
        threading.Thread(target=_relay, args=(accepted, port), daemon=True).start()


def _relay(accepted: socket.socket, port: int) -> None:
    """Passes on what either side says until one of them ends."""
    try:
        far = socket.create_connection(("127.0.0.1", port))
    except OSError:
        accepted.close()
        return
    with accepted, far, selectors.DefaultSelector() as selector:
        selector.register(accepted, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, accepted)
        try:
            while True:
                for key, _ in selector.select():
                    said = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                    if not said:
                        return
                    key.data.sendall(said)
        except OSError:
            return
