"""Requests that fit the server's memory: made smaller where it runs out, slowly larger again, and pieced together.

Who asks gets one answer a request, in their order, whatever became of it on the way. A request that fails is sent
again by itself, in halves: that finds the size that fits, and in the end the text that fails alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np

from embedder_assets.errors import InferenceError, ResourceExhaustedError
from embedder_assets.serving.client.grpc import UNOBSERVED, Answer, Failure, Outputs, RequestObserver, Row
from embedder_assets.serving.client.retrying import Connection

# Requests of the largest allowed size that have to be answered in a row before twice as many rows are tried.
PATIENCE = 8
# A text that no model can have trouble with: where it fails too, the fault is not the text's.
HARMLESS = "harmless"
TEXT_AT_FAULT = "text_at_fault"

Request = Sequence[Row]


class SizeLimit:
    """The most rows that a request to one model may have, learnt from what the server had no memory for.

    Attributes:
        rows: The limit, or None while nothing has failed.
        asked: The largest request that failed: with it, the limit has no use any more.
    """

    def __init__(self) -> None:
        self.rows: int | None = None
        self.asked = 0
        self._patience = PATIENCE
        self._streak = 0
        self._grown = False

    def allows(self, rows: int) -> bool:
        """Whether a request may be as large."""
        return self.rows is None or rows <= self.rows

    def exhausted(self, rows: int) -> bool:
        """The server had no memory for a request of ``rows`` rows; returns whether the limit fell."""
        self.asked = max(self.asked, rows)
        self._streak = 0
        half = max(rows // 2, 1)
        # What was in flight with it fails too: that is no reason to go below half of it.
        if self.rows is not None and half >= self.rows:
            return False
        self.rows = half
        # A larger size was tried too early: the next try waits longer, so that failed tries cost ever less.
        self._patience *= 2 if self._grown else 1
        self._grown = False
        return True

    def answered(self, rows: int) -> bool:
        """A request of ``rows`` rows was answered; returns whether the limit rose."""
        if self.rows is None or rows <= self.rows // 2:
            return False
        self._streak += 1
        if self._streak < self._patience:
            return False
        self._streak = 0
        self._grown = True
        self.rows = self.rows * 2 if self.rows * 2 < self.asked else None
        return True

    def restore(self, rows: int | None) -> bool:
        """A text was at fault and not the size: back to what was known; returns whether the limit rose."""
        rose = self.rows is not None and (rows is None or rows > self.rows)
        if rose:
            self.rows, self._streak = rows, 0
        return rose

    @property
    def now(self) -> int:
        """Rows a request from now on."""
        return self.rows or self.asked


class AdaptiveRequests:
    """Streams of requests. What was learnt of a model's memory holds for all of its streams."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._limits: dict[str, SizeLimit] = defaultdict(SizeLimit)

    def infer_many(
        self, model: str, requests: Iterable[Request], observer: RequestObserver = UNOBSERVED
    ) -> Iterator[Answer]:
        """Sends requests with a few in flight; the answers come in the order of the requests.

        Args:
            model: Name of a loaded model.
            requests: Rows that belong together.
            observer: Told about every request that was answered, and about changes of the size.

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

    def __init__(self, client: Connection, model: str, limit: SizeLimit, observer: RequestObserver) -> None:
        self._client = client
        self._model = model
        self._limit = limit
        self._observer = observer

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        pending: deque[_Pending] = deque()
        try:
            for rows in requests:
                pending.append(_Pending(rows, self._submitted(rows)))
                while len(pending) >= self._client.most_in_flight:
                    yield self._oldest(pending)
            while pending:
                yield self._oldest(pending)
        finally:
            self._tell_recoveries()
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
                return self._seen(oldest.future.result())
            except InferenceError as error:
                self._shrink(len(oldest.rows), error)
        # Triton computes waiting requests of a model together, and fails them together: what is sent again has to be
        # alone, so that its failure is its own.
        wait([each.future for each in pending if each.future])
        return self._in_pieces(oldest.rows, known)

    def _in_pieces(self, rows: Request, known: int | None) -> Answer:
        """Sends a request in as large parts as go, one after the other; what fails is halved until it is one row.

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
        return self._seen(self._client.infer(self._model, rows, self._observer.traceparent()))

    def _seen(self, answer: Answer) -> Answer:
        """Passes an answer on, after the observer and the limit have taken note of it."""
        self._tell_recoveries()
        self._observer.request(
            self._model, answer.latency_s, answer.rows, traceparent=answer.traceparent, dimension=answer.dimension
        )
        if self._limit.answered(answer.rows):
            self._observer.mitigated("batch_recovered", self._model, self._limit.now, "answered_in_a_row")
        return answer

    def _tell_recoveries(self) -> None:
        for done in self._client.recoveries():
            self._observer.recovered(done.kind, done.model, done.reason, endpoint=done.endpoint, at=done.at)

    def _shrink(self, rows: int, error: InferenceError) -> None:
        if isinstance(error, ResourceExhaustedError) and self._limit.exhausted(rows):
            self._observer.mitigated("batch_halved", self._model, self._limit.now, error.kind)

    def _blame_text(self, error: InferenceError, known: int | None) -> None:
        if isinstance(error, ResourceExhaustedError) and self._limit.restore(known):
            self._observer.mitigated("batch_recovered", self._model, self._limit.now, TEXT_AT_FAULT)

    def _harmless(self, row: Row, error: InferenceError) -> Answer:
        """The answer to a text that cannot be at fault, of the form of ``row``; raises ``error`` if there is none."""
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
        # No row of it is taken: it says what arrays of no rows look like, where every text failed.
        outputs.append({name: values[:0] for name, values in harmless.outputs.items()})
    return Answer(
        {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]},
        sum(answer.latency_s for answer in answers),
        failures=tuple(failures),
    )
