"""A stand-in for the client of one Triton server of several, and what a connection says that it did about them."""

from collections.abc import Callable

from embedder_assets.serving.client.retrying import RetryingClient


class FakeTritonClient:
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


def recoveries_of(made: RetryingClient) -> list[tuple[str, str | None]]:
    return [(each.kind, each.endpoint) for each in made.recoveries.take()]
