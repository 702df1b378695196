"""Which of several servers is asked, and what becomes of one that fails; the servers are stand-ins."""

import threading
from collections.abc import Callable

import pytest

from embedder_assets.errors import (
    InferenceError,
    ModelBuildError,
    ModelCrashedError,
    TritonAccessError,
    TritonUnavailableError,
)
from embedder_assets.serving.client import retrying as connection
from embedder_assets.serving.client import server_pool as several_servers
from embedder_assets.serving.client.retrying import Connection
from embedder_assets.serving.server import embedded
from embedder_assets.serving.server.access import ClientAccess, Secret
from embedder_assets.serving.server.embedded import TritonAddress
from tests.support.factories import make_error, make_settings
from tests.support.processes import eventually

MODEL = "dense_minilm"


class FakeClient:
    """Stands where TritonClient does.

    Attributes:
        gone: Why it gives no answer, or None.
        before: Called with a client before it answers.
    """

    gone: Exception | None = None

    def __init__(self, address, timeout_s):
        self.address = address
        self.answered: list[object] = []
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.reloaded: list[str] = []
        self.closed = False
        self.before: Callable[[], object] = lambda: None

    def infer(self, model, rows, traceparent):
        self.before()
        self.require_live(0)
        self.answered.append(rows)
        return self.address.grpc

    def require_live(self, timeout_s):
        if self.gone:
            raise self.gone

    def reload(self, model):
        self.reloaded.append(model)

    def ensure_all_unloaded(self, models):
        self.require_live(0)
        self.unloaded += sorted(models)

    def close(self):
        self.closed = True


@pytest.fixture
def clients(monkeypatch) -> dict[str, FakeClient]:
    """The clients that were made, by the host of the address."""
    made: dict[str, FakeClient] = {}

    def make(address, timeout_s):
        return made.setdefault(address.grpc.split(":")[0], FakeClient(address, timeout_s))

    monkeypatch.setattr(several_servers, "TritonClient", make)
    monkeypatch.setattr(several_servers, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(several_servers, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.01)
    return made


@pytest.fixture
def refusals() -> dict[tuple[str, str], Exception]:
    """What a model at a host is refused with, by both."""
    return {}


@pytest.fixture
def connected(tmp_path, clients, refusals):
    opened = []

    def connect(urls="a:1,b:1", **values) -> Connection:
        def prepare(model, client):
            client.require_live(0)
            if (model, client.address.grpc) in refusals:
                raise refusals[model, client.address.grpc]
            client.loaded.append(model)

        opened.append(Connection(make_settings(tmp_path, triton_url=urls, **values), prepare))
        opened[-1].load(MODEL)
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def done(made: Connection) -> list[tuple[str, str | None]]:
    return [(each.kind, each.endpoint) for each in made.recoveries()]


def test_only_this_homes_own_server_gets_its_secret(connected, clients, monkeypatch):
    own = TritonAddress("127.0.0.1:8001", access=ClientAccess(secret=Secret.random()))
    monkeypatch.setattr(embedded, "find_running", lambda _: own)
    connected("localhost:8001,127.0.0.1:8002,other:8001")
    shown = {client.address.grpc: client.address.access.secret for client in clients.values()}
    assert shown == {"localhost:8001": own.access.secret, "127.0.0.1:8002": None, "other:8001": None}


def test_the_least_busy_one_is_asked_and_one_that_is_as_busy_in_turn(connected, clients):
    made = connected()
    assert [made.infer(MODEL, [("x",)]) for _ in range(4)] == ["a:1", "b:1", "a:1", "b:1"]
    release = threading.Event()
    clients["a"].before = lambda: release.wait(10)
    slow = made.submit(MODEL, [("slow",)])
    assert eventually(lambda: made._servers._endpoints[0].in_flight == 1)
    assert [made.infer(MODEL, [("x",)]) for _ in range(3)] == ["b:1"] * 3
    release.set()
    assert slow.result(10) == "a:1"


def test_as_many_requests_may_be_on_their_way_for_each_server_that_is_there(connected, clients):
    made = connected("a:1,b:1,c:1")
    assert made.most_in_flight == 9
    clients["b"].gone = make_error(TritonUnavailableError)
    assert {made.infer(MODEL, [("x",)]) for _ in range(3)} == {"a:1", "c:1"}
    assert made.most_in_flight == 6


def test_one_that_fails_is_asked_nothing_until_it_is_back_with_its_models(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert [made.infer(MODEL, [(str(number),)]) for number in range(3)] == ["b:1"] * 3
    assert clients["b"].answered == [[("0",)], [("1",)], [("2",)]]
    assert done(made) == [("endpoint_ejected", "a:1")]
    clients["a"].loaded.clear()
    clients["a"].gone = None
    assert eventually(lambda: made.most_in_flight == 6)
    assert clients["a"].loaded == [MODEL]
    assert {made.infer(MODEL, [("x",)]) for _ in range(2)} == {"a:1", "b:1"}
    assert done(made) == [("endpoint_restored", "a:1")]


def test_one_that_comes_back_with_another_model_is_refused_by_name(connected, clients, refusals):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    refusals[MODEL, "a:1"] = make_error(ModelBuildError, "model at a:1")
    clients["a"].gone = None
    assert eventually(lambda: made.most_in_flight == 6)
    assert [made.infer(MODEL, [("x",)]) for _ in range(3)] == ["b:1"] * 3
    assert done(made) == [("endpoint_ejected", "a:1"), ("endpoint_refused", "a:1")]


def test_one_that_is_refused_for_a_model_serves_the_others(connected, clients, refusals):
    refusals["rerank", "a:1"] = make_error(ModelBuildError)
    made = connected()
    made.load("rerank")
    assert {made.infer("rerank", [("x",)]) for _ in range(3)} == {"b:1"}
    assert {made.infer(MODEL, [("x",)]) for _ in range(3)} == {"a:1", "b:1"}


def test_a_model_that_all_refuse_is_an_error_that_names_them_and_leaves_the_servers(connected, refusals):
    made = connected()
    for host in ("a:1", "b:1"):
        refusals["rerank", host] = make_error(ModelBuildError, f"model at {host}")
    with pytest.raises(ModelBuildError, match=r"a:1: none; b:1: none"):
        made.load("rerank")
    assert made.loaded == {MODEL}
    assert {made.infer(MODEL, [("x",)]) for _ in range(2)} == {"a:1", "b:1"}


def test_only_when_none_is_left_a_request_waits_and_then_gives_up(connected, clients):
    made = connected(triton_retry_s=0.3)
    for client in clients.values():
        client.gone = make_error(TritonUnavailableError)
    with pytest.raises(
        TritonUnavailableError, match=r"a:1: none; b:1: none \(sent again for .*EMBEDDER_TRITON_RETRY_S"
    ):
        made.infer(MODEL, [("x",)])
    assert done(made).count(("request_retried", None)) == 1
    clients["b"].gone = None
    assert eventually(lambda: made.most_in_flight == 3 and made._servers._usable(MODEL, ()))
    assert made.infer(MODEL, [("x",)]) == "b:1"


def test_all_that_are_away_at_the_start_are_awaited(connected, clients, tmp_path):
    class Gone(FakeClient):
        gone = make_error(TritonUnavailableError)

    for host in "ab":
        clients[host] = Gone(several_servers.TritonAddress(f"{host}:1"), 1)
    threading.Timer(0.2, lambda: setattr(clients["b"], "gone", None)).start()
    made = connected()
    assert made.infer(MODEL, [("x",)]) == "b:1"
    assert done(made)[:2] == [("request_retried", None), ("endpoint_ejected", "a:1")]


def test_one_that_does_not_let_the_client_in_is_put_aside_and_if_all_do_not_nobody_waits(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonAccessError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    (aside,) = made.recoveries()
    assert (aside.kind, aside.endpoint, aside.reason) == ("endpoint_ejected", "a:1", "unauthorized")
    clients["b"].gone = make_error(TritonAccessError)
    with pytest.raises(TritonAccessError):
        made.infer(MODEL, [("x",)])
    assert "request_retried" not in [kind for kind, _ in done(made)]


def test_what_was_sent_before_a_server_went_away_says_nothing_of_it_when_it_is_back(connected, clients):
    made = connected()
    release = threading.Event()

    def hang():
        clients["a"].before = lambda: None
        release.wait(10)
        raise make_error(TritonUnavailableError)

    clients["a"].before = hang
    slow = made.submit(MODEL, [("slow",)])
    assert eventually(lambda: made._servers._endpoints[0].in_flight == 1)
    clients["b"].before = lambda: setattr(clients["b"], "gone", make_error(TritonUnavailableError))
    clients["a"].gone = make_error(TritonUnavailableError)
    quick = made.submit(MODEL, [("quick",)])
    assert eventually(lambda: made._servers._endpoints[0].ejections == 1 and made._servers._endpoints[1].ejections == 1)
    clients["b"].before = lambda: None
    clients["a"].gone = clients["b"].gone = None
    assert quick.result(10) in ("a:1", "b:1")
    assert eventually(lambda: made.most_in_flight == 6)
    release.set()
    assert slow.result(10) == "b:1"
    assert [endpoint.ejections for endpoint in made._servers._endpoints] == [1, 1]


def test_an_answer_that_is_an_error_is_no_reason_to_ask_another(connected, clients):
    made = connected()
    clients["a"].gone = make_error(InferenceError)
    with pytest.raises(InferenceError):
        made.infer(MODEL, [("x",)])
    assert clients["b"].answered == []
    assert done(made) == []


def test_a_model_whose_process_died_is_loaded_anew_before_its_server_is_back(connected, clients):
    made = connected()
    clients["a"].gone = make_error(ModelCrashedError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    clients["a"].gone = None
    assert eventually(lambda: made.most_in_flight == 6)
    assert clients["a"].reloaded == [MODEL]


def test_a_request_that_kills_one_process_after_the_other_is_one_that_fails(connected, clients):
    made = connected("a:1,b:1,c:1,d:1,e:1")
    for client in clients.values():
        client.before = lambda: (_ for _ in ()).throw(make_error(ModelCrashedError))
    with pytest.raises(ModelCrashedError, match="4 deaths over one request"):
        made.infer(MODEL, [("x",)])


def test_unloading_goes_to_all_and_one_that_is_away_does_it_when_it_is_back(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    made.unload({MODEL})
    assert (clients["a"].unloaded, clients["b"].unloaded) == ([], [MODEL])
    assert made.loaded == set()
    clients["a"].gone = None
    assert eventually(lambda: clients["a"].unloaded == [MODEL])
    assert clients["a"].loaded == [MODEL], "it was not loaded again"


def test_pauses_grow_and_end_growing():
    pauses = [several_servers._pause_s(failures) for failures in range(1, 10)]
    assert pauses[0] <= 0.4
    assert all(2.5 <= pause <= 5 for pause in pauses[4:])
    assert several_servers._pause_s(10**6) <= 5


def test_nobody_is_asked_after_the_end(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    made.infer(MODEL, [("x",)])
    made.close()
    assert all(client.closed for client in clients.values())
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "probe"])
