"""What is known of one server of several."""

from __future__ import annotations

from embedder_assets.errors import EmbedderError
from embedder_assets.serving.client.grpc import TritonClient


class Endpoint:
    """One server of several.

    Attributes:
        client: Its client.
        in_flight: Requests that it has not answered yet.
        turn: Number of the last request that it was given.
        models: The models that it is known to serve rightly.
        refused: The models that it is not asked for, with the reason.
        error: Why it is put aside, or None.
        ejections: How often it was put aside: what was sent before that says nothing of it now.
        crashed: The models whose process died since it was put aside.
        surplus: The models that have to be unloaded when it is back.
        failures: Failures without an answer in between.
    """

    def __init__(self, client: TritonClient) -> None:
        self.client = client
        self.in_flight = 0
        self.turn = 0
        self.models: set[str] = set()
        self.refused: dict[str, EmbedderError] = {}
        self.error: EmbedderError | None = None
        self.ejections = 0
        self.crashed: set[str] = set()
        self.surplus: set[str] = set()
        self.failures = 0

    @property
    def name(self) -> str:
        """Its ``host:port``."""
        return self.client.address.grpc

    def why_not(self, model: str) -> EmbedderError | None:
        """Why it is not asked for a model, or None where it may be."""
        return self.error or self.refused.get(model)
