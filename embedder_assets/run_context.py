"""What every asset works with: settings, tables, Triton, and where progress and footer go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from embedder_assets.instance.run_lock import RunLock
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.history import VersionTracker
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import ProgressReport, ignore_progress
from embedder_assets.terminal import say_lines


@dataclass
class Pipeline:
    """The working set of one run. ``close`` ends a Triton server that the run started.

    Attributes:
        settings: The resolved settings.
        report: Called with how far a stage is.
        show_footer: Given the footer at the end of the run.
        store: The tables.
        triton: The models.
        run_lock: Held while a run is in progress.
        version_trackers: Run id to the versions of the tables that its steps have read or made.
    """

    settings: Settings
    report: ProgressReport = ignore_progress
    show_footer: Callable[[str], None] = say_lines
    store: TableStore = field(init=False)
    triton: TritonSession = field(init=False)
    run_lock: RunLock = field(init=False)
    version_trackers: dict[str, VersionTracker] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.store = TableStore.of(self.settings)
        self.triton = TritonSession(self.settings)
        self.run_lock = RunLock(self.settings.home)

    def close(self) -> None:
        """Gives everything back."""
        self.triton.close()
        self.run_lock.close()
