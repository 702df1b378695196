"""How the connection to a Triton server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from embedder_assets.network import loopback
from embedder_assets.serving.server.access import TritonAddress

if TYPE_CHECKING:
    from tritonclient._request import Request


class Headers:
    """A plugin of the client library that adds headers to every request."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Request) -> None:
        """Adds them."""
        request.headers = {**request.headers, **self._headers}


def channel_args(address: TritonAddress) -> list[tuple[str, int]]:
    """The options of gRPC for a server."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    # A proxy that the environment names cannot reach this machine's own server.
    without_proxy = [("grpc.enable_http_proxy", 0)] if loopback.is_local(address.grpc) else []
    # A server that is back is noticed at the next retry; gRPC itself would back off for up to two minutes.
    reconnect = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]
    return [*unlimited, *reconnect, *without_proxy]
