import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder_assets.errors import InferenceError, ResourceExhaustedError, TritonUnavailableError
from embedder_assets.serving.client.batching import GROW_AFTER, HARMLESS, AdaptiveRequests
from embedder_assets.serving.client.grpc import Answer
from embedder_assets.serving.client.recovery import RecoveryLog
from tests.support.factories import make_meter

MODEL = "dense_minilm"


class FakeServer:
    """Stands where RetryingClient does: a text's vector is its number.

    Args:
        memory: The most rows that it has memory for, or a function of the number of requests until now.
        poison: Texts that fail with any company.
        poison_error: As which error.
        broken: Whether everything fails.
    """

    def __init__(self, memory=10**9, poison=(), poison_error="wrong", broken=False):
        self.memory = memory if callable(memory) else lambda _: memory
        self.poison, self.poison_error, self.broken = set(poison), poison_error, broken
        self.sizes: list[int] = []
        self.tried: list[int] = []
        self.in_flight = 0
        self.pool = ThreadPoolExecutor(3)
        self.lock = threading.Lock()
        self.servers = SimpleNamespace(max_in_flight=3)
        self.recoveries = RecoveryLog()

    def submit(self, model, rows, traceparent=None):
        def answer():
            try:
                return self._answer(rows, traceparent)
            finally:
                with self.lock:
                    self.in_flight -= 1

        with self.lock:
            self.in_flight += 1
        return self.pool.submit(answer)

    def infer(self, model, rows, traceparent=None):
        assert self.in_flight == 0, "what is retried has to be alone"
        return self._answer(rows, traceparent)

    def _answer(self, rows, traceparent):
        with self.lock:
            self.tried.append(len(rows))
            calls = len(self.tried)
        if self.broken:
            raise failure("wrong")
        if self.poison & {row[-1] for row in rows}:
            raise failure(self.poison_error)
        if len(rows) > self.memory(calls):
            raise failure("memory")
        with self.lock:
            self.sizes.append(len(rows))
        values = [[-1 if row[-1] == HARMLESS else int(row[-1])] for row in rows]
        return Answer({"embedding": np.array(values, np.float32)}, 0.01, traceparent)


def failure(kind: str) -> InferenceError:
    words = {"expected": "an answer", "got": "a failure", "remedy": "None."}
    return {
        "wrong": lambda: InferenceError("the fake", **words),
        "memory": lambda: ResourceExhaustedError("the fake", kind="out_of_memory", **words),
        "gone": lambda: TritonUnavailableError("the fake", **words),
    }[kind]()


def requests_of(total: int, size: int):
    texts = [(str(number),) for number in range(total)]
    return [texts[start : start + size] for start in range(0, total, size)]


def send(server, total, size, meter=None, adaptive=None):
    """Answers to requests for the texts 0, 1, 2 …, and the numbers that came back, in the order of the answers."""
    adaptive = adaptive or AdaptiveRequests(server)
    answers = list(adaptive.infer_many(MODEL, requests_of(total, size), meter or make_meter()))
    return answers, [int(value) for answer in answers for value in answer.outputs["embedding"].ravel()]


def mitigations(meter) -> list[tuple[str, int, str]]:
    return [(event.kind, event.batch_size, event.reason) for event in meter.record().mitigations]


def test_fitting_requests_are_answered_in_order():
    server, meter = FakeServer(), make_meter()
    answers, numbers = send(server, 20, 4, meter)
    assert (numbers, [answer.rows for answer in answers]) == (list(range(20)), [4] * 5)
    assert server.tried == [4] * 5
    assert meter.record().batch_latencies_s == [0.01] * 5
    assert mitigations(meter) == []
    assert [answer.answered for answer in answers] == [[0, 1, 2, 3]] * 5


def test_unsplit_answer_is_not_copied():
    server = FakeServer()
    made = []
    real = server._answer
    server._answer = lambda *arguments: made.append(real(*arguments)) or made[-1]
    (answer,), _ = send(server, 4, 4)
    assert answer is made[0]


def test_oversized_requests_are_halved_until_they_fit():
    server, meter = FakeServer(memory=5), make_meter()
    answers, numbers = send(server, 64 * 3, 64, meter)
    assert numbers == list(range(64 * 3))
    assert [answer.rows for answer in answers] == [64] * 3
    assert max(server.sizes) == 4
    assert mitigations(meter)[:4] == [("batch_halved", size, "out_of_memory") for size in (32, 16, 8, 4)]


def test_only_answered_requests_are_samples():
    server, meter = FakeServer(memory=5), make_meter()
    send(server, 64, 64, meter)
    assert len(meter.record().batch_latencies_s) == len(server.sizes) < len(server.tried)
    assert meter.record().batch_size == 4


def test_concurrent_failures_lower_the_limit_once():
    server, meter = FakeServer(memory=32), make_meter()
    _, numbers = send(server, 64 * 3, 64, meter)
    assert numbers == list(range(64 * 3))
    assert [event for event in mitigations(meter) if event[0] == "batch_halved"] == [
        ("batch_halved", 32, "out_of_memory")
    ]


def test_limit_is_per_model_and_session():
    server = FakeServer(memory=8)
    adaptive = AdaptiveRequests(server)
    send(server, 16, 16, adaptive=adaptive)
    server.tried.clear()
    send(server, 16, 16, adaptive=adaptive)
    assert server.tried == [8, 8]
    server.tried.clear()
    list(adaptive.infer_many("another", requests_of(16, 16)))
    assert server.tried[0] == 16


def test_limit_recovers_up_to_the_request_size():
    server, meter = FakeServer(memory=lambda calls: 2 if calls < 10 else 10**9), make_meter()
    _, numbers = send(server, 8 * 40, 8, meter)
    assert numbers == list(range(8 * 40))
    events = mitigations(meter)
    assert events[:2] == [("batch_halved", 4, "out_of_memory"), ("batch_halved", 2, "out_of_memory")]
    assert [size for kind, size, _ in events if kind == "batch_recovered"] == [4, 8]
    # At each size as many requests in a row as it takes, then all is as before.
    assert server.sizes.count(4) == GROW_AFTER
    assert server.sizes[-20:] == [8] * 20


def test_failed_growth_is_tried_less_often():
    server, meter = FakeServer(memory=4), make_meter()
    send(server, 8 * 400, 8, meter)
    failed = [number for number, size in enumerate(server.tried) if size == 8]
    # The first ones were in flight together.
    gaps = [later - earlier for earlier, later in pairwise(failed) if later - earlier > GROW_AFTER]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 4 * gaps[0]
    assert len(meter.record().mitigations) < 20


def test_failing_text_is_named_by_position():
    server, meter = FakeServer(poison={"5", "17"}), make_meter()
    answers, numbers = send(server, 24, 8, meter)
    assert numbers == [number for number in range(24) if number not in (5, 17)]
    assert [[failure.position for failure in answer.failures] for answer in answers] == [[5], [], [1]]
    assert answers[0].answered == [0, 1, 2, 3, 4, 6, 7]
    assert answers[0].failures[0].error.kind == "inference_failed"
    # The size was not at fault.
    assert mitigations(meter) == []


def test_oversized_text_does_not_lower_the_limit():
    server, meter = FakeServer(poison={"5"}, poison_error="memory"), make_meter()
    adaptive = AdaptiveRequests(server)
    _, numbers = send(server, 64, 64, meter, adaptive)
    assert numbers == [number for number in range(64) if number != 5]
    assert [size for kind, size, _ in mitigations(meter) if kind == "batch_halved"] == [32, 16, 8, 4, 2, 1]
    assert mitigations(meter)[-1] == ("batch_recovered", 64, "text_at_fault")
    # What was not tried with the text is sent as it was meant to be.
    assert server.sizes == [4, 1, 1, 2, 8, 16, 32]
    server.poison = set()
    server.tried.clear()
    send(server, 640, 64, adaptive=adaptive)
    assert server.tried == [64] * 10


def test_failing_text_keeps_the_known_limit():
    server = FakeServer(memory=8)
    adaptive = AdaptiveRequests(server)
    send(server, 16, 16, adaptive=adaptive)
    server.poison, server.poison_error = {"5"}, "memory"
    send(server, 16, 16, adaptive=adaptive)
    server.poison = set()
    server.tried.clear()
    send(server, 16, 16, adaptive=adaptive)
    assert server.tried == [8, 8]


def test_request_of_one_text_can_fail():
    (answer,), numbers = send(FakeServer(poison={"0"}), 1, 8)
    assert (numbers, [failure.position for failure in answer.failures]) == ([], [0])


@pytest.mark.parametrize("kind", ["wrong", "memory"])
def test_only_failing_texts_give_empty_outputs(kind):
    (answer,), _ = send(FakeServer(poison={"0", "1", "2"}, poison_error=kind), 3, 8)
    assert answer.outputs["embedding"].shape == (0, 1)
    assert answer.outputs["embedding"].dtype == np.float32
    assert (answer.rows, answer.answered, len(answer.failures)) == (0, [], 3)


def test_broken_model_raises_after_few_requests():
    server = FakeServer(broken=True)
    with pytest.raises(InferenceError, match="a failure"):
        send(server, 64 * 10, 64)
    # Those in flight, then 64, 32, … 1 and the harmless text.
    assert len(server.tried) == 3 + 7 + 1


def test_no_memory_for_any_text_raises():
    with pytest.raises(ResourceExhaustedError):
        send(FakeServer(memory=0), 64, 64)


def test_unavailable_server_is_not_retried_in_halves():
    server = FakeServer(poison={"0"}, poison_error="gone")
    with pytest.raises(TritonUnavailableError):
        send(server, 8, 8)
    assert server.tried == [8]


def test_retried_requests_are_sent_alone():
    """Triton computes waiting requests together and fails them together; the fake asserts that ``infer`` is alone."""
    server = FakeServer(memory=6, poison={"13", "40"})
    real = server._answer
    server._answer = lambda *arguments: time.sleep(0.002) or real(*arguments)
    _, numbers = send(server, 64, 8)
    assert numbers == [number for number in range(64) if number not in (13, 40)]


def test_every_request_asks_for_trace_context():
    server, meter = FakeServer(memory=2), make_meter()
    contexts = iter(f"00-{'0' * 32}-{number:016x}-01" for number in range(100))
    meter.traceparent = lambda: next(contexts)
    send(server, 8, 8, meter)
    spans = [request.span_id for request in meter.record().requests]
    assert len(set(spans)) == len(spans) == 4


def test_closed_stream_leaves_nothing_in_flight():
    server = FakeServer()
    stream = AdaptiveRequests(server).infer_many(MODEL, requests_of(80, 8))
    next(stream)
    stream.close()
    server.pool.shutdown(wait=True)
    assert len(server.tried) <= 3


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 60),
    size=st.integers(1, 20),
    memory=st.integers(1, 20),
    poison=st.sets(st.integers(0, 59), max_size=6),
    error=st.sampled_from(["wrong", "memory"]),
)
def test_every_row_is_answered_or_named(total, size, memory, poison, error):
    server = FakeServer(memory=memory, poison=map(str, poison), poison_error=error)
    answers, numbers = send(server, total, size)
    assert numbers == [number for number in range(total) if number not in poison]
    failed = [number * size + failure.position for number, answer in enumerate(answers) for failure in answer.failures]
    assert failed == sorted(poison & set(range(total)))
    assert [answer.rows + len(answer.failures) for answer in answers] == [
        len(request) for request in requests_of(total, size)
    ]
    assert all(size <= memory for size in server.sizes)
