"""Which of several servers is asked; the servers are stand-ins."""

import threading

import pytest

from embedder_assets.errors import (
    InferenceError,
    ModelBuildError,
    ModelCrashedError,
    TritonUnavailableError,
)
from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ClientAccess, Secret, TritonAddress
from tests.support.factories import make_error
from tests.support.processes import eventually
from tests.support.servers.fake_client import FakeTritonClient, recoveries_of

MODEL = "dense_minilm"


def test_secret_goes_to_own_server_only(connected, clients, monkeypatch):
    own = TritonAddress("127.0.0.1:8001", access=ClientAccess(secret=Secret.random()))
    monkeypatch.setattr(embedded, "find_running", lambda _: own)
    connected("localhost:8001,127.0.0.1:8002,other:8001")
    shown = {client.address.grpc: client.address.access.secret for client in clients.values()}
    assert shown == {"localhost:8001": own.access.secret, "127.0.0.1:8002": None, "other:8001": None}


def test_least_busy_server_gets_the_request(connected, clients):
    made = connected()
    assert [made.infer(MODEL, [("x",)]) for _ in range(4)] == ["a:1", "b:1", "a:1", "b:1"]
    release = threading.Event()
    clients["a"].before = lambda: release.wait(10)
    slow = made.submit(MODEL, [("slow",)])
    assert eventually(lambda: made.servers._endpoints[0].in_flight == 1)
    assert [made.infer(MODEL, [("x",)]) for _ in range(3)] == ["b:1"] * 3
    release.set()
    assert slow.result(10) == "a:1"


def test_requests_in_flight_follow_healthy_servers(connected, clients):
    made = connected("a:1,b:1,c:1")
    assert made.servers.max_in_flight == 9
    clients["b"].gone = make_error(TritonUnavailableError)
    assert {made.infer(MODEL, [("x",)]) for _ in range(3)} == {"a:1", "c:1"}
    assert made.servers.max_in_flight == 6


def test_refused_server_serves_its_other_models(connected, clients, refusals):
    refusals["rerank", "a:1"] = make_error(ModelBuildError)
    made = connected()
    made.load("rerank")
    assert {made.infer("rerank", [("x",)]) for _ in range(3)} == {"b:1"}
    assert {made.infer(MODEL, [("x",)]) for _ in range(3)} == {"a:1", "b:1"}


def test_model_refused_everywhere_names_all_servers(connected, refusals):
    made = connected()
    for host in ("a:1", "b:1"):
        refusals["rerank", host] = make_error(ModelBuildError, f"model at {host}")
    with pytest.raises(ModelBuildError, match=r"a:1: none; b:1: none"):
        made.load("rerank")
    assert made.servers.loaded == {MODEL}
    assert {made.infer(MODEL, [("x",)]) for _ in range(2)} == {"a:1", "b:1"}


def test_request_without_healthy_server_gives_up(connected, clients):
    made = connected(triton_retry_s=0.3)
    for client in clients.values():
        client.gone = make_error(TritonUnavailableError)
    with pytest.raises(TritonUnavailableError, match=r"a:1: none; b:1: none \(retried for .*EMBEDDER_TRITON_RETRY_S"):
        made.infer(MODEL, [("x",)])
    assert recoveries_of(made).count(("request_retried", None)) == 1
    clients["b"].gone = None
    assert eventually(lambda: made.servers.max_in_flight == 3 and made.servers._usable(MODEL, ()))
    assert made.infer(MODEL, [("x",)]) == "b:1"


def test_absent_servers_are_awaited_at_start(connected, clients, tmp_path):
    for host in "ab":
        clients[host] = FakeTritonClient(TritonAddress(f"{host}:1"), 1)
        clients[host].gone = make_error(TritonUnavailableError)
    threading.Timer(0.2, lambda: setattr(clients["b"], "gone", None)).start()
    made = connected()
    assert made.infer(MODEL, [("x",)]) == "b:1"
    assert recoveries_of(made)[:2] == [("request_retried", None), ("endpoint_ejected", "a:1")]


def test_model_error_is_not_failed_over(connected, clients):
    made = connected()
    clients["a"].gone = make_error(InferenceError)
    with pytest.raises(InferenceError):
        made.infer(MODEL, [("x",)])
    assert clients["b"].answered == []
    assert recoveries_of(made) == []


def test_request_that_keeps_crashing_models_fails(connected, clients):
    made = connected("a:1,b:1,c:1,d:1,e:1")
    for client in clients.values():
        client.before = lambda: (_ for _ in ()).throw(make_error(ModelCrashedError))
    with pytest.raises(ModelCrashedError, match="4 crashes during one request"):
        made.infer(MODEL, [("x",)])
