"""The shipped monitoring configuration in a real Prometheus and Alertmanager over a live exporter and a live Triton."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from monitoring.grafana.panels import DASHBOARDS, Panel, Query
from monitoring.grafana.pictures import Prometheus, draw
from tests.conftest import PROJECT
from tests.integration.operations.test_telemetry import exporter
from tests.integration.run.test_fallback import RERANK, damaged
from tests.support.command import BIN, environment
from tests.support.processes import eventually as within
from tests.support.processes import free_ports
from tests.support.servers.prometheus import Api, alertmanager, prometheus, received, shipped
from tests.support.servers.served import served

# Scrapes, evaluations and notifications follow each other, on a machine that may be busy.
PATIENCE_S = 60
# All of the test, a point a second.
WINDOW_S = 240
CORPUS = PROJECT / "examples" / "corpus"


def eventually(condition: Callable[[], bool]) -> bool:
    return within(condition, PATIENCE_S)


@contextmanager
def triton(home: Path, repository: Path) -> Iterator[None]:
    """``embedder serve``, which says itself where Prometheus finds it."""
    with served(home, EMBEDDER_MODEL_REPOSITORY=str(repository)):
        yield


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(PROJECT / "model_repository", folder)
    return folder


def test_queries_rules_and_alerts_work_live(home: Path, tmp_path: Path, repository: Path) -> None:
    home.mkdir()
    ports = dict(zip(("exporter", "prometheus", "alerts"), free_ports(3), strict=True))
    config = shipped(tmp_path / "monitoring", ports, home)
    variables = environment(
        home,
        EMBEDDER_MODEL_REPOSITORY=str(repository),
        EMBEDDER_METRICS_PORT=str(ports["exporter"]),
        # A request of 64 pairs takes long enough on a busy machine to be a latency spike.
        EMBEDDER_REQUEST_BATCH_SIZE="8",
    )

    def run(expected: int, **more: str) -> None:
        command = [str(BIN / "embedder"), "run", "--corpus", str(CORPUS)]
        done = subprocess.run(command, env={**variables, **more}, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == expected, done.stdout + done.stderr

    with ExitStack() as stack:
        notified = stack.enter_context(alertmanager(config.parent / "alertmanager.yml", ports["alerts"]))
        server = stack.enter_context(ExitStack())
        server.enter_context(triton(home, repository))
        exporting = stack.enter_context(ExitStack())
        exporting.enter_context(exporter(home, ports["exporter"]))
        api = stack.enter_context(prometheus(config, ports["prometheus"]))
        assert eventually(lambda: api.value('min(up{job=~"exporter|triton|prometheus"})') == 1), api.rules()
        assert eventually(lambda: api.firing() == set()), api.firing()

        with damaged(repository, RERANK):
            run(1, EMBEDDER_FALLBACK="sparse")
            assert eventually(lambda: {"RunsFailing"} <= received(notified)), api.firing()
            run(0)
            assert eventually(lambda: {"RerankFallback"} <= received(notified)), api.firing()
        run(0)
        assert eventually(lambda: api.value('rag_runs_total{status="success"}') == 2)
        assert api.value('rag_rerank_fallback_total{reason="model_unavailable"}') == 1
        # What a run has left is there after a scrape, what is recorded of it after an evaluation.
        grafana_sees = Prometheus(f"http://127.0.0.1:{ports['prometheus']}")
        assert eventually(lambda: _panels_without_data(grafana_sees) == []), _panels_without_data(grafana_sees)
        _every_rule_evaluates(api)
        assert api.firing() == {"RunsFailing", "RerankFallback"}
        for page in DASHBOARDS:
            draw(page, grafana_sees, WINDOW_S, tmp_path / f"{page.uid}.png")
            assert (tmp_path / f"{page.uid}.png").stat().st_size > 20_000

        server.close()
        assert eventually(lambda: {"TritonDown"} <= api.firing() & received(notified)), api.firing()
        server.enter_context(triton(home, repository))
        assert eventually(lambda: "TritonDown" not in api.firing() | received(notified)), api.firing()
        exporting.close()
        assert eventually(lambda: {"ExporterDown"} <= api.firing() & received(notified)), api.firing()


def _panels_without_data(grafana_sees: Prometheus) -> list[str]:
    """The titles of the panels of which a query has returned nothing yet; those of the GPU only where there is one."""
    gpu = Path("/dev/nvidia0").exists()
    panels: list[Panel] = [panel for page in DASHBOARDS for panel in page.panels() if gpu or not panel.needs_gpu]
    assert len(panels) > 40
    return [panel.title for panel in panels if not all(_has_data(grafana_sees, query) for query in panel.queries)]


def _has_data(grafana_sees: Prometheus, query: Query) -> bool:
    series = grafana_sees.series(query, WINDOW_S)
    return any(math.isfinite(value) for _, points in series for _, value in points)


def _every_rule_evaluates(api: Api) -> None:
    rules = api.rules()
    assert len(rules) > 30
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
