"""Connections to several servers, which are stand-ins."""

import pytest

from embedder_assets.serving.client import ejection, retrying, server_pool
from embedder_assets.serving.client.retrying import RetryingClient
from tests.support.factories import make_settings
from tests.support.servers.fake_client import FakeTritonClient

MODEL = "dense_minilm"


@pytest.fixture
def clients(monkeypatch) -> dict[str, FakeTritonClient]:
    """The clients that were made, by the host of the address."""
    made: dict[str, FakeTritonClient] = {}

    def make(address, timeout_s):
        return made.setdefault(address.grpc.split(":")[0], FakeTritonClient(address, timeout_s))

    monkeypatch.setattr(server_pool, "TritonClient", make)
    monkeypatch.setattr(ejection, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(ejection, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    return made


@pytest.fixture
def refusals() -> dict[tuple[str, str], Exception]:
    """What a model at a host is refused with, by both."""
    return {}


@pytest.fixture
def connected(tmp_path, clients, refusals):
    opened = []

    def connect(urls="a:1,b:1", **values) -> RetryingClient:
        def prepare(model, client):
            client.require_live(0)
            if (model, client.address.grpc) in refusals:
                raise refusals[model, client.address.grpc]
            client.loaded.append(model)

        opened.append(RetryingClient(make_settings(tmp_path, triton_url=urls, **values), prepare))
        opened[-1].load(MODEL)
        return opened[-1]

    yield connect
    for each in opened:
        each.close()
