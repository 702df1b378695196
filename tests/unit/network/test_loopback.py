"""Whose a connection of this machine is, as the kernel says."""

import os
import socket
import subprocess
import sys

import pytest

from embedder_assets.network.loopback import owner_of_connection

ANOTHER = 65534
CONNECT = """
import os, socket, sys
import encodings.idna  # while the interpreter's files can be read
os.setgid(65534) or os.setuid(65534)
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(client.getsockname()[1], flush=True)
sys.stdin.readline()
client.shutdown(socket.SHUT_WR)
print("half closed", flush=True)
sys.stdin.readline()
"""


def test_kernel_names_the_owner():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_connection(peer, accepted.getsockname()) == os.geteuid()
            # The same port at another address of this machine is another connection.
            assert owner_of_connection(("127.0.0.2", peer[1]), accepted.getsockname()) is None
            client.shutdown(socket.SHUT_WR)
            assert owner_of_connection(peer, accepted.getsockname()) is None


def test_ipv6_client_has_its_owner():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect((f"::ffff:{server.getsockname()[0]}", server.getsockname()[1]))
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_connection(peer, accepted.getsockname()) == os.geteuid()


def test_ipv6_server_sees_the_owner():
    server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with server, socket.create_connection(server.getsockname()[:2]):
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_connection(peer[:2], accepted.getsockname()[:2]) == os.geteuid()


def test_dual_stack_server_sees_the_owner():
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with server, socket.create_connection(("127.0.0.1", server.getsockname()[1])):
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_connection(peer[:2], accepted.getsockname()[:2]) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_other_user_is_never_taken_for_root():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(
            [sys.executable, "-c", CONNECT, str(server.getsockname()[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other,
    ):
        server.settimeout(20)
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_connection(peer, accepted.getsockname()) == ANOTHER
            other.stdout.readline()
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "half closed\n"
            assert owner_of_connection(peer, accepted.getsockname()) is None
            other.communicate("\n")
