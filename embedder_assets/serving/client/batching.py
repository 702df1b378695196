"""Adaptive batching: requests get smaller where the server runs out of memory, and slowly larger again.

The caller gets one answer per request, in order, however it was split on the way. A request that fails is retried by
itself, in halves: that finds the size that fits, and in the end the text that fails alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np

from embedder_assets.errors import InferenceError, ResourceExhaustedError
from embedder_assets.serving.client.grpc import UNOBSERVED, Answer, Failure, Outputs, RequestObserver, Row
from embedder_assets.serving.client.retrying import RetryingClient

# Requests of the largest allowed size that have to be answered in a row before twice as many rows are tried.
GROW_AFTER = 8
# A text that no model can have trouble with: where it fails too, the text is not the cause.
HARMLESS = "harmless"
TEXT_AT_FAULT = "text_at_fault"

Request = Sequence[Row]


class BatchSizeLimit:
    """The most rows that a request to one model may have, learnt from requests that the server had no memory for.

    Attributes:
        rows: The limit, or None while nothing has failed.
        largest_failed: Rows of the largest request that failed; a limit of as many has no use any more.
    """

    def __init__(self) -> None:
        self.rows: int | None = None
        self.largest_failed = 0
        self._grow_after = GROW_AFTER
        self._streak = 0
        self._grown = False

    def allows(self, rows: int) -> bool:
        """Whether a request may be as large."""
        return self.rows is None or rows <= self.rows

    def on_out_of_memory(self, rows: int) -> bool:
        """The server had no memory for a request of ``rows`` rows; returns whether the limit fell."""
        self.largest_failed = max(self.largest_failed, rows)
        self._streak = 0
        half = max(rows // 2, 1)
        # What was in flight with it fails too: that is no reason to go below half of it.
        if self.rows is not None and half >= self.rows:
            return False
        self.rows = half
        # A larger size was tried too early: the next try waits longer, so that failed tries get rarer.
        self._grow_after *= 2 if self._grown else 1
        self._grown = False
        return True

    def on_success(self, rows: int) -> bool:
        """A request of ``rows`` rows was answered; returns whether the limit rose."""
        if self.rows is None or rows <= self.rows // 2:
            return False
        self._streak += 1
        if self._streak < self._grow_after:
            return False
        self._streak = 0
        self._grown = True
        self.rows = self.rows * 2 if self.rows * 2 < self.largest_failed else None
        return True

    def restore(self, rows: int | None) -> bool:
        """A text was the cause and not the size: back to what was known; returns whether the limit rose."""
        rose = self.rows is not None and (rows is None or rows > self.rows)
        if rose:
            self.rows, self._streak = rows, 0
        return rose

    @property
    def current(self) -> int:
        """Rows per request from now on."""
        return self.rows or self.largest_failed


class AdaptiveRequests:
    """Streams of requests. What was learnt of a model's memory holds for all of its streams."""

    def __init__(self, client: RetryingClient) -> None:
        self._client = client
        self._limits: dict[str, BatchSizeLimit] = defaultdict(BatchSizeLimit)

    def infer_many(
        self, model: str, requests: Iterable[Request], observer: RequestObserver = UNOBSERVED
    ) -> Iterator[Answer]:
        """Sends requests with a few in flight; the answers come in the order of the requests.

        Args:
            model: Name of a loaded model.
            requests: Rows that belong together.
            observer: Is notified of every request that was answered, and of changes of the size.

        Raises:
            InferenceError: The model fails for any text.
            TritonUnavailableError: Triton does not answer.
        """
        return _Stream(self._client, model, self._limits[model], observer).answers(requests)


@dataclass
class _Pending:
    """A request whose answer is awaited; without a future it is too large to be sent whole."""

    rows: Request
    future: Future[Answer] | None


class _Stream:
    """One stream of requests to one model."""

    def __init__(self, client: RetryingClient, model: str, limit: BatchSizeLimit, observer: RequestObserver) -> None:
        self._client = client
        self._model = model
        self._limit = limit
        self._observer = observer

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        pending: deque[_Pending] = deque()
        try:
            for rows in requests:
                pending.append(_Pending(rows, self._submitted(rows)))
                while len(pending) >= self._client.servers.max_in_flight:
                    yield self._oldest(pending)
            while pending:
                yield self._oldest(pending)
        finally:
            self._report_recoveries()
            for each in pending:
                if each.future:
                    each.future.cancel()

    def _submitted(self, rows: Request) -> Future[Answer] | None:
        if not self._limit.allows(len(rows)):
            return None
        return self._client.submit(self._model, rows, self._observer.traceparent())

    def _oldest(self, pending: deque[_Pending]) -> Answer:
        oldest = pending.popleft()
        known = self._limit.rows
        if oldest.future:
            try:
                return self._observed(oldest.future.result())
            except InferenceError as error:
                self._shrink(len(oldest.rows), error)
        # Triton computes waiting requests of a model together, and fails them together: a retry has to be alone, so
        # that its failure is its own.
        wait([each.future for each in pending if each.future])
        return self._split(oldest.rows, known)

    def _split(self, rows: Request, known: int | None) -> Answer:
        """Sends a request in parts as large as the limit allows, one after the other; one that fails is halved.

        Args:
            rows: The request.
            known: The limit before anything of this request failed.

        Raises:
            InferenceError: A row fails alone, and a harmless text does too.
        """
        answers: list[Answer] = []
        failures: list[Failure] = []
        harmless: Answer | None = None
        parts = deque([range(len(rows))])
        while parts:
            part = parts.popleft()
            if not self._limit.allows(len(part)):
                parts.extendleft(reversed(_halves(part)))
                continue
            try:
                answers.append(self._sent([rows[position] for position in part]))
            except InferenceError as error:
                self._shrink(len(part), error)
                if len(part) > 1:
                    parts.extendleft(reversed(_halves(part)))
                    continue
                harmless = harmless or self._harmless(rows[part.start], error)
                failures.append(Failure(part.start, error))
                self._blame_text(error, known)
        return _merged(answers, harmless, failures)

    def _sent(self, rows: Request) -> Answer:
        return self._observed(self._client.infer(self._model, rows, self._observer.traceparent()))

    def _observed(self, answer: Answer) -> Answer:
        """The same answer, after the observer and the limit were notified of it."""
        self._report_recoveries()
        self._observer.request(
            self._model, answer.latency_s, answer.rows, traceparent=answer.traceparent, dimension=answer.dimension
        )
        if self._limit.on_success(answer.rows):
            self._observer.mitigated("batch_recovered", self._model, self._limit.current, "answered_in_a_row")
        return answer

    def _report_recoveries(self) -> None:
        for done in self._client.recoveries.take():
            self._observer.recovered(done.kind, done.model, done.reason, endpoint=done.endpoint, at=done.at)

    def _shrink(self, rows: int, error: InferenceError) -> None:
        if isinstance(error, ResourceExhaustedError) and self._limit.on_out_of_memory(rows):
            self._observer.mitigated("batch_halved", self._model, self._limit.current, error.kind)

    def _blame_text(self, error: InferenceError, known: int | None) -> None:
        if isinstance(error, ResourceExhaustedError) and self._limit.restore(known):
            self._observer.mitigated("batch_recovered", self._model, self._limit.current, TEXT_AT_FAULT)

    def _harmless(self, row: Row, error: InferenceError) -> Answer:
        """The answer to a text that cannot be the cause, of the form of ``row``; raises ``error`` if there is none."""
        try:
            return self._client.infer(self._model, [(HARMLESS,) * len(row)])
        except InferenceError:
            raise error from None


def _halves(part: range) -> list[range]:
    middle = (len(part) + 1) // 2
    return [part[:middle], part[middle:]]


def _merged(answers: Sequence[Answer], harmless: Answer | None, failures: Sequence[Failure]) -> Answer:
    """One answer of those to the parts of a request."""
    if len(answers) == 1 and not failures:
        return answers[0]
    outputs: list[Outputs] = [answer.outputs for answer in answers]
    if harmless:
        # No row of it is taken: it has the shapes and types of arrays without rows, where every text failed.
        outputs.append({name: values[:0] for name, values in harmless.outputs.items()})
    return Answer(
        {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]},
        sum(answer.latency_s for answer in answers),
        failures=tuple(failures),
    )
