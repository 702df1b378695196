"""One run's access to Triton: starts or finds the server when the first inference is needed, not before."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from embedder_assets.errors import ModelBuildError, TritonUnavailableError
from embedder_assets.network import loopback
from embedder_assets.sanitize import SecretUrl
from embedder_assets.serving.client.batching import AdaptiveRequests
from embedder_assets.serving.client.grpc import UNOBSERVED, Answer, RequestObserver, Row, TritonClient
from embedder_assets.serving.client.memory import gpu_memory_of_driver, gpu_memory_of_metrics
from embedder_assets.serving.client.retrying import RetryingClient
from embedder_assets.serving.client.validation import validated
from embedder_assets.serving.models.build import require_built
from embedder_assets.serving.models.description import ModelDescription, Role, ScoreFormula, Stage, load_description
from embedder_assets.serving.server.access import TritonAddress
from embedder_assets.settings import Device, Settings

if TYPE_CHECKING:
    from embedder_assets.serving.models.tokenization import TokenCounts

SCRAPE_TIMEOUT_S = 2


class TritonSession:
    """The models of one run.

    The server is, in this order: the one at ``EMBEDDER_TRITON_URL``, or several there; a running ``embedder serve`` of
    the same home; or an embedded one of this session, which ``close`` stops.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = RetryingClient(settings, self._load)
        self._requests = AdaptiveRequests(self._client)
        self._only: frozenset[str] | None = None
        self._without_gpu = False
        # As they were when first read: rows are labelled with one fingerprint from the start to the end of a run.
        self._descriptions: dict[str, ModelDescription] = {}

    @property
    def device(self) -> Device:
        """What the models are served on."""
        return self._settings.device

    @property
    def address(self) -> TritonAddress | None:
        """Where the server answers, of several the first one, or None while none was needed."""
        return next(iter(self._client.servers.addresses), None)

    def fingerprint(self, model: str, stage: Stage) -> str:
        """The fingerprint that a model's rows carry, from its description, without starting a server.

        Raises:
            ModelBuildError: The model is of another stage.
        """
        description = self._description(model)
        if description.stage != stage:
            raise ModelBuildError(
                f"model '{model}'",
                expected=f"a model of stage '{stage}'",
                got=f"'{description.stage}'",
                remedy=f"Correct the setting {stage}_model{'s' if stage == 'dense' else ''}; "
                "`embedder models list` shows what there is.",
            )
        return description.fingerprint(self._settings.device)

    def precision_change(self, model: str, fingerprint: str) -> str | None:
        """Why rows of a model with another fingerprint are computed anew, where only its precision has changed."""
        description = self._description(model)
        earlier, now = description.precision_of(fingerprint), description.precision_on(self._settings.device)
        if earlier in (None, now):
            return None
        return f"model '{model}' is built in {now} now: its vectors of {earlier} are computed anew, once"

    def stage(self, model: str) -> Stage:
        """The stage that a model is for."""
        return self._description(model).stage

    def score_formula(self, model: str) -> ScoreFormula:
        """The weights of a rerank model's final score."""
        return self._description(model).score

    def reads_context(self, model: str) -> bool:
        """Whether a dense model reads title and headings in front of a passage."""
        return self._description(model).context

    def max_tokens(self, model: str) -> int:
        """The longest passage that a model reads whole: special tokens included, its passage prefix not."""
        description = self._description(model)
        prefix = description.passage_prefix
        if not prefix:
            return description.max_tokens
        from embedder_assets.serving.models.tokenization import load_tokenizer  # a run may need no tokenizer

        tokenizer = load_tokenizer(self.tokenizer_file(model))
        return description.max_tokens - len(tokenizer.encode(prefix, add_special_tokens=False).ids)

    def tokenizer_file(self, model: str) -> Path:
        """The tokenizer of a model, which the repository keeps next to it."""
        require_built(self._settings.model_repository, model, self._settings.device)
        return self._settings.model_repository / model / "tokenizer.json"

    def count_tokens(self, model: str, rows: Sequence[Row], role: Role = "passage") -> TokenCounts:
        """How a model's tokenizer reads texts, or pairs of texts; no server is needed.

        Args:
            model: Name of the model.
            rows: The texts, without the model's prefixes.
            role: Which prefix single texts get; each pair gets both.

        Raises:
            ModelBuildError: The model repository has no tokenizer of the model.
        """
        from embedder_assets.serving.models.tokenization import count_tokens

        description = self._description(model)
        file = self._settings.model_repository / model / "tokenizer.json"
        return count_tokens(file, description.max_tokens, [description.prefixed(row, role) for row in rows])

    def infer_many(
        self,
        model: str,
        requests: Iterable[Sequence[Row]],
        *,
        role: Role = "passage",
        observer: RequestObserver = UNOBSERVED,
    ) -> Iterator[Answer]:
        """Answers in the order of the requests; see ``AdaptiveRequests.infer_many``.

        Args:
            model: Name of the model.
            requests: The texts, without the model's prefixes.
            role: Which prefix single texts get; each pair gets both.
            observer: Is notified of every request that was answered, and of changes of their size.
        """
        self._ensure_loaded(model)
        description = self._description(model)
        prefixed = ([description.prefixed(row, role) for row in rows] for rows in requests)
        return validated(self._requests.infer_many(model, prefixed, observer), model, description)

    @contextmanager
    def models_in_use(self, models: Sequence[str], *, exclusive: bool) -> Iterator[None]:
        """While the context lasts, a stage uses these models.

        Exclusively: before the first of them is loaded, all others are unloaded, and at the end they are unloaded too.
        Nothing is loaded before it is needed, and no server is started for it.
        """
        self._only = frozenset(models) if exclusive else None
        try:
            yield
        finally:
            self._only = None
            if exclusive and self.address is not None:
                with suppress(TritonUnavailableError):
                    self._client.unload(set(models))

    def gpu_memory_bytes(self) -> dict[str, int]:
        """GPU memory in use by device: the larger of what Triton's metrics and this machine's driver report.

        Empty without a GPU, and while no server was needed.
        """
        if self.address is None or self._without_gpu:
            return {}
        scraped = [_scraped_gpu_memory(url) for url in self._metrics_urls]
        used: Counter[str] = Counter()
        for found in (*scraped, gpu_memory_of_driver() if self._is_local else None):
            used |= Counter(found or {})
        # Servers that answer without a GPU will not grow one.
        self._without_gpu = bool(scraped) and None not in scraped and not used
        return dict(used)

    @property
    def server_pid(self) -> int | None:
        """Process id of the server that this session started, if it did."""
        return self._client.servers.embedded.pid if self._client.servers.embedded else None

    @property
    def _is_local(self) -> bool:
        return any(loopback.is_local(address.grpc) for address in self._client.servers.addresses)

    @property
    def _metrics_urls(self) -> Sequence[SecretUrl | str]:
        if self._settings.triton_url:
            return self._settings.triton_metrics_url
        return [address.metrics_url for address in self._client.servers.addresses if address.metrics_url]

    def close(self) -> None:
        """Closes the client, and ends the server if this session started it."""
        self._client.close()
        self._client = RetryingClient(self._settings, self._load)
        self._requests = AdaptiveRequests(self._client)
        self._descriptions.clear()

    def _description(self, model: str) -> ModelDescription:
        if model not in self._descriptions:
            self._descriptions[model] = load_description(self._settings.model_repository / model)
        return self._descriptions[model]

    def _require_described(self, model: str, client: TritonClient) -> None:
        """The server must have loaded the very model that rows are labelled with, whoever started it, and when.

        Its backend loads no graph but the one that its fingerprint was given to (``backends/text_encoder``).
        """
        described = self._description(model).parameters(self._settings.device)
        served = client.model_parameters(model)
        wrong = [name for name, value in described.items() if served.get(name) != value]
        if wrong:
            name = "fingerprint" if "fingerprint" in wrong else wrong[0]
            raise ModelBuildError(
                f"model '{model}' at {client.address.grpc}",
                expected=f"{name} {described[name]}, as {self._settings.model_repository / model} describes",
                got=served.get(name) or f"no parameter '{name}' in its configuration",
                remedy="Serve the model repository that `embedder models build` wrote, with the same EMBEDDER_DEVICE "
                "and precision; restart a server, or start a run again, that is older than the model.",
            )

    def _ensure_loaded(self, model: str) -> None:
        if model not in self._client.servers.loaded:
            if not self._settings.triton_url and (self._settings.model_repository / model).exists():
                require_built(self._settings.model_repository, model, self._settings.device)
            self._client.load(model)

    def _load(self, model: str, client: TritonClient) -> None:
        if self._only is not None:
            others = set(client.loaded_models()) - self._only
            self._client.servers.forget(others)
            client.ensure_all_unloaded(others)
        client.ensure_loaded(model)
        self._require_described(model, client)


def _scraped_gpu_memory(url: SecretUrl | str) -> dict[str, int] | None:
    """None when a server's metrics cannot be read."""
    try:
        with (
            urllib.request.urlopen(url.request(), timeout=SCRAPE_TIMEOUT_S)
            if isinstance(url, SecretUrl)
            else loopback.get(url, SCRAPE_TIMEOUT_S) as response
        ):
            return gpu_memory_of_metrics(response.read().decode())
    except (OSError, HTTPException):
        return None
