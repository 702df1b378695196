"""Reports to systemd for a unit of ``Type=notify``: a datagram to a socket that its environment names."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

SOCKET_VARIABLE = "NOTIFY_SOCKET"
TIMEOUT_S = 0.2


class ServiceManager:
    """Who has started this process, if that is systemd; otherwise nothing is reported.

    Takes the address out of the environment: it is for this process and not for those that it starts.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop(SOCKET_VARIABLE, "")

    def notify(self, **state: str | int) -> None:
        """Sends it assignments such as ``READY=1`` and ``STATUS=…``; see sd_notify(3)."""
        if not self._address:
            return
        # An abstract socket has a null byte where its name has an "@".
        address = self._address.replace("@", "\0", 1) if self._address.startswith("@") else self._address
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            # A manager that does not listen must not hold up what it manages.
            manager.settimeout(TIMEOUT_S)
            manager.sendto(message.encode(), address)
