"""The client, where no server is needed."""

import pytest

from embedder_assets.errors import TritonUnavailableError
from embedder_assets.serving.client.grpc import TritonClient
from embedder_assets.serving.server.access import TritonAddress


def test_request_on_closed_client_is_transient():
    client = TritonClient(TritonAddress("127.0.0.1:9"), 1.0)
    client.close()
    with pytest.raises(TritonUnavailableError, match="was closed"):
        client.infer("dense_minilm", [("text",)])
