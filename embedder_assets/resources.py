"""What every asset works with: settings, tables, Triton. One Dagster resource, alive for one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg
from pydantic import Field, PrivateAttr

from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import ProgressReport, ignore_progress


def print_now(text: str) -> None:
    """Prints to standard output at once, whoever launched the run."""
    print(text, flush=True)


@dataclass
class Pipeline:
    """The working set of one run. ``close`` ends a Triton server that the run started.

    Attributes:
        settings: The resolved settings.
        report: Told how far a stage is.
        show_footer: Given the footer at the end of the run.
        store: The tables.
        triton: The models.
    """

    settings: Settings
    report: ProgressReport = ignore_progress
    show_footer: Callable[[str], None] = print_now
    store: TableStore = field(init=False)
    triton: TritonSession = field(init=False)

    def __post_init__(self) -> None:
        self.store = TableStore(self.settings.home)
        self.triton = TritonSession(self.settings)

    def close(self) -> None:
        """Gives everything back."""
        self.triton.close()


class PipelineResource(dg.ConfigurableResource[Pipeline]):
    """Settings that a person may change for one run in the launch pad; unset ones keep their value."""

    corpus_dir: str | None = Field(default=None, description="Folder whose sub-folders are the collections.")
    enable_sparse: bool | None = Field(default=None, description="Whether the sparse stage runs.")
    enable_rerank: bool | None = Field(default=None, description="Whether the rerank stage runs.")

    _pipeline: Pipeline | None = PrivateAttr(default=None)

    def create_resource(self, context: dg.InitResourceContext) -> Pipeline:
        """Resolves the settings and opens nothing else: Triton starts with the first inference."""
        del context
        chosen = {name: getattr(self, name) for name in ("corpus_dir", "enable_sparse", "enable_rerank")}
        overrides = {name: (value, "run_config") for name, value in chosen.items() if value is not None}
        self._pipeline = Pipeline(load_settings(overrides))
        return self._pipeline

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Ends what the run started."""
        del context
        if self._pipeline is not None:
            self._pipeline.close()
