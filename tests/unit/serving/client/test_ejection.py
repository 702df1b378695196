"""What becomes of one of several servers that fails; the servers are stand-ins."""

import threading

import pytest

from embedder_assets.errors import (
    ModelBuildError,
    ModelCrashedError,
    TritonAccessError,
    TritonUnavailableError,
)
from embedder_assets.serving.client import ejection
from tests.support.factories import make_error
from tests.support.processes import eventually
from tests.support.servers.fake_client import recoveries_of

MODEL = "dense_minilm"


def test_failing_server_is_ejected_and_restored(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert [made.infer(MODEL, [(str(number),)]) for number in range(3)] == ["b:1"] * 3
    assert clients["b"].answered == [[("0",)], [("1",)], [("2",)]]
    assert recoveries_of(made) == [("endpoint_ejected", "a:1")]
    clients["a"].loaded.clear()
    clients["a"].gone = None
    assert eventually(lambda: made.servers.max_in_flight == 6)
    assert clients["a"].loaded == [MODEL]
    assert {made.infer(MODEL, [("x",)]) for _ in range(2)} == {"a:1", "b:1"}
    assert recoveries_of(made) == [("endpoint_restored", "a:1")]


def test_restored_server_with_other_model_is_refused(connected, clients, refusals):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    refusals[MODEL, "a:1"] = make_error(ModelBuildError, "model at a:1")
    clients["a"].gone = None
    assert eventually(lambda: made.servers.max_in_flight == 6)
    assert [made.infer(MODEL, [("x",)]) for _ in range(3)] == ["b:1"] * 3
    assert recoveries_of(made) == [("endpoint_ejected", "a:1"), ("endpoint_refused", "a:1")]


def test_unauthorized_servers_are_ejected_without_waiting(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonAccessError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    (ejected,) = made.recoveries.take()
    assert (ejected.kind, ejected.endpoint, ejected.reason) == ("endpoint_ejected", "a:1", "unauthorized")
    clients["b"].gone = make_error(TritonAccessError)
    with pytest.raises(TritonAccessError):
        made.infer(MODEL, [("x",)])
    assert "request_retried" not in [kind for kind, _ in recoveries_of(made)]


def test_late_failure_does_not_eject_again(connected, clients):
    made = connected()
    release = threading.Event()

    def hang():
        clients["a"].before = lambda: None
        release.wait(10)
        raise make_error(TritonUnavailableError)

    clients["a"].before = hang
    slow = made.submit(MODEL, [("slow",)])
    assert eventually(lambda: made.servers._endpoints[0].in_flight == 1)
    clients["b"].before = lambda: setattr(clients["b"], "gone", make_error(TritonUnavailableError))
    clients["a"].gone = make_error(TritonUnavailableError)
    quick = made.submit(MODEL, [("quick",)])
    assert eventually(lambda: made.servers._endpoints[0].ejections == 1 and made.servers._endpoints[1].ejections == 1)
    clients["b"].before = lambda: None
    clients["a"].gone = clients["b"].gone = None
    assert quick.result(10) in ("a:1", "b:1")
    assert eventually(lambda: made.servers.max_in_flight == 6)
    release.set()
    assert slow.result(10) == "b:1"
    assert [endpoint.ejections for endpoint in made.servers._endpoints] == [1, 1]


def test_crashed_model_is_reloaded_before_restore(connected, clients):
    made = connected()
    clients["a"].gone = make_error(ModelCrashedError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    clients["a"].gone = None
    assert eventually(lambda: made.servers.max_in_flight == 6)
    assert clients["a"].reloaded == [MODEL]


def test_ejected_server_unloads_when_restored(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    assert made.infer(MODEL, [("x",)]) == "b:1"
    made.unload({MODEL})
    assert (clients["a"].unloaded, clients["b"].unloaded) == ([], [MODEL])
    assert made.servers.loaded == set()
    clients["a"].gone = None
    assert eventually(lambda: clients["a"].unloaded == [MODEL])
    assert clients["a"].loaded == [MODEL], "it was not loaded again"


def test_probe_pauses_grow_to_a_limit():
    pauses = [ejection._pause_s(failures) for failures in range(1, 10)]
    assert pauses[0] <= 0.4
    assert all(2.5 <= pause <= 5 for pause in pauses[4:])
    assert ejection._pause_s(10**6) <= 5


def test_no_probes_after_close(connected, clients):
    made = connected()
    clients["a"].gone = make_error(TritonUnavailableError)
    made.infer(MODEL, [("x",)])
    made.close()
    assert all(client.closed for client in clients.values())
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "probe"])
