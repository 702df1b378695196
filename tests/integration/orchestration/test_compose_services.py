"""The services of docker-compose.yml that are our own, run without Docker: their commands, files and health checks."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.integration.operations.test_telemetry import latest
from tests.support.command import BIN, environment, instance_of
from tests.support.processes import eventually, free_port
from tests.support.servers.prometheus import prometheus

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text("utf-8"))["services"]
LAUNCH = """
mutation($job: JobOrPipelineSelector!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {selector: $job, runConfigData: {}, executionMetadata: {tags: $tags}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""


class Services:
    """Processes in place of containers, on ports of their own.

    Args:
        home: In place of the volume ``state``.
        variables: The environment of all of them.
    """

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self._folder = home.parent
        self._variables = variables
        self.ports = {"3000": str(free_port()), "4000": str(free_port()), "9464": str(free_port())}
        workspace = self._here((PROJECT / "docker" / "workspace.yaml").read_text("utf-8"))
        (self._folder / "workspace.yaml").write_text(workspace.replace("host: code", "host: 127.0.0.1"), "utf-8")

    @contextmanager
    def up(self, name: str, **variables: str) -> Iterator[None]:
        """A service while the context lasts; entered when it is healthy."""
        log = self._folder / f"{name}.log"
        with log.open("w") as said:
            command = self._command(SERVICES[name]["command"])
            process = subprocess.Popen(
                command, cwd=self._folder, env={**self._variables, **variables}, stdout=said, stderr=said
            )
        try:
            healthy = eventually(lambda: self._is_healthy(name), 90, pause=1)
            assert healthy, f"{name} is not healthy\n{log.read_text()[-4000:]}"
            assert process.poll() is None, log.read_text("utf-8")[-4000:]
            yield
        finally:
            process.terminate()
            process.wait(30)

    def launch(self, job: str, collection: str) -> str:
        """Launches a run the way the UI does, and gives its id."""
        selector = {
            "repositoryLocationName": "embedder_assets.definitions",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        values = {"job": selector, "tags": [{"key": "dagster/partition", "value": collection}]}
        body = json.dumps({"query": LAUNCH, "variables": values}).encode()
        url = f"http://127.0.0.1:{self.ports['3000']}/graphql"
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as response:
            answer = json.load(response)["data"]["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def _is_healthy(self, name: str) -> bool:
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = self._command([word for word in check if word != "with-secrets"])
        return subprocess.run(command, cwd=self._folder, env=self._variables, capture_output=True).returncode == 0

    def _command(self, words: list[str]) -> list[str]:
        program, *arguments = (self._here(word) for word in words)
        return [str(BIN / program), *arguments]

    def _here(self, text: str) -> str:
        for port, other in self.ports.items():
            text = text.replace(port, other)
        return text.replace("0.0.0.0", "127.0.0.1")


def prometheus_config(services: Services, folder: Path) -> Path:
    """The configuration of docker-compose.yml, on the ports of some services."""
    config = (PROJECT / "docker" / "prometheus.yml").read_text("utf-8")
    moved = {
        "/etc/prometheus": str(folder),
        "/run/secrets": str(folder),
        "15s": "2s",
        "localhost:9090": "127.0.0.1:9",
    }
    for earlier, present in {**moved, "exporter:9464": f"127.0.0.1:{services.ports['9464']}"}.items():
        assert earlier in config
        config = config.replace(earlier, present)
    file = folder / "prometheus.yml"
    file.write_text(config, "utf-8")
    return file


@pytest.fixture
def services(home_on_postgres: Path, corpus: Path, tmp_path: Path) -> Services:
    secret = tmp_path / "metrics_password"
    secret.write_text("metrics\n", "utf-8")
    chosen = {"EMBEDDER_METRICS_PASSWORD_FILE": str(secret)}
    folder = str(home_on_postgres / "dagster")
    variables = environment(home_on_postgres, DAGSTER_HOME=folder, EMBEDDER_CORPUS_DIR=str(corpus), **chosen)
    made = Services(home_on_postgres, variables)
    variables["EMBEDDER_METRICS_PORT"] = made.ports["9464"]
    return made


def test_queue_runs_one_per_collection(services: Services, home_on_postgres: Path) -> None:
    with ExitStack() as stack, instance_of(home_on_postgres) as instance:
        stack.enter_context(services.up("exporter"))
        # Not by the address that the exporter listens on, as between containers.
        stack.enter_context(services.up("code", EMBEDDER_METRICS_ADDRESS="localhost"))
        stack.enter_context(services.up("webserver"))
        stack.enter_context(services.up("daemon"))
        runs = [services.launch("rag_tables", "animals") for _ in range(2)]

        def ended() -> bool:
            return all(instance.get_run_by_id(run).is_finished for run in runs)  # type: ignore[union-attr]

        assert eventually(ended, 120), [instance.get_run_by_id(run) for run in runs]
        records = [instance.get_run_record_by_id(run) for run in runs]
        assert [record.dagster_run.status for record in records if record] == [dg.DagsterRunStatus.SUCCESS] * 2
        spans = sorted((record.start_time or 0, record.end_time or 0) for record in records if record)
        assert 0 < spans[0][0] < spans[0][1] <= spans[1][0] < spans[1][1]
    assert TableStore(home_on_postgres).collections("reranked_candidates") == ["animals"]
    manifests = [json.loads((home_on_postgres / "runs" / run / "processing_summary.json").read_text()) for run in runs]
    said = {run["telemetry"]["metrics"]["rerank"]["status"] for run in manifests}
    assert "emitted" in said, latest(home_on_postgres)["telemetry"]["metrics"]


def test_prometheus_reads_the_exporter_with_the_password(services: Services, tmp_path: Path) -> None:
    config = prometheus_config(services, tmp_path)
    with services.up("exporter"), prometheus(config, free_port()) as api:
        assert eventually(lambda: api.value('up{job="exporter"}') == 1, 60), (tmp_path / "prometheus.log").read_text()
        assert api.value("rag_runs_in_progress") == 0
        (tmp_path / "metrics_password").write_text("another\n", "utf-8")
        assert eventually(lambda: api.value('up{job="exporter"}') == 0, 60), "it was read with a wrong password"
