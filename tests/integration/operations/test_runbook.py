"""The commands of the runbook, executed as they stand there on a home with a finished run and a live Triton."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedder_assets.serving.server.embedded import find_running
from tests.conftest import PROJECT
from tests.support.command import BIN, write
from tests.support.processes import answers, eventually, free_ports
from tests.support.servers.prometheus import NAMES, alertmanager, installed, prometheus, shipped
from tests.unit.project.test_docs import DOCS, page, section
from tests.unit.project.test_operator_docs import INDENTED

COLLECTION = "animals"
METRICS, TRITON, PROMETHEUS, ALERTMANAGER, OTHER = "9464", "8002", "9090", "9093", "9465"
PARTS = {METRICS: "exporter", PROMETHEUS: "prometheus", ALERTMANAGER: "alerts", OTHER: "other"}
# What may stand in the runbook next to our own commands; anything else is looked at by a person first.
PROGRAMS = {"embedder", "dagster", "dagster-daemon", "curl", "promtool", "amtool"} | {
    *("grep", "tail", "ls", "head", "cat", "uptime", "date", "df", "ss", "nvidia-smi"),
}
NOT_EXECUTED = {
    "nvidia-smi": "needs a GPU",
    "embedder serve": "runs until it is interrupted; one runs next to the commands",
    "embedder exporter": "runs until it is interrupted; one runs next to the commands",
    "embedder tables drop NAME": "asks, and removes the rows that the other commands read",
    # A run each, and time is short here. That the settings exist is held by test_operator_docs.py.
    "EMBEDDER_RERANK_DEPTH=15 embedder run": "a run; what the depth does: tests/unit/retrieval/test_rerank.py",
    "EMBEDDER_GPU_LEASE_POLICY=exclusive embedder run": "a run; operations/test_lease.py has one like it",
    "EMBEDDER_REQUEST_BATCH_SIZE=16 embedder run": "a run; the size of requests: tests/unit/embedding/test_stage.py",
}
# What a command says where nothing is wrong, or where the part that it asks for does not run here.
STATUS_1 = {
    "embedder summary show | grep item_failed": "no text failed",
    "embedder summary show | grep 'GPU memory'": "no GPU",
    "embedder summary show | grep -E 'failed|warning'": "the run was good",
    r"curl -s http://127.0.0.1:9464/metrics | grep -E '^rag_check_passed.* 0\.0$'": "every check has passed",
    "dagster-daemon liveness-check": "no daemon runs",
}
NEEDS_SERVICES = re.compile(rf"promtool|amtool|:{ALERTMANAGER}/")


def commands(text: str) -> list[str]:
    """The lines of the indented blocks of a text."""
    return [line.strip() for block in INDENTED.findall(text) for line in block.splitlines()]


TROUBLESHOOTING = [path.read_text("utf-8") for path in sorted((DOCS / "telemetry" / "troubleshooting").glob("*.md"))]
NOTIFICATIONS = section(page("telemetry/notifications.md"), "Who is notified")
LINES = dict.fromkeys(line for text in (*TROUBLESHOOTING, NOTIFICATIONS) for line in commands(text))
EXPORTS = [line for line in LINES if line.startswith("export ")]
ALL = [line for line in LINES if line not in EXPORTS]


@dataclass
class Machine:
    """A checkout with the default home, whose parts listen on ports of their own.

    Attributes:
        services: Whether Prometheus and Alertmanager run next to it.
    """

    root: Path
    environment: dict[str, str]
    ports: dict[str, str]
    services: bool = False

    @property
    def home(self) -> Path:
        return self.root / ".embedder"

    def as_here(self, command: str) -> str:
        """A command of the runbook with this machine's ports and names."""
        for standard, port in self.ports.items():
            command = re.sub(rf"\b{standard}\b", port, command)
        run_id = json.loads((self.home / "runs" / "latest.json").read_text("utf-8"))["run_id"]
        return command.replace("RUN_ID", run_id[:8]).replace("NAME", COLLECTION)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        script = "\n".join(["set -o pipefail", *EXPORTS, command])
        return subprocess.run(
            ["bash", "-c", script], cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=120
        )

    @contextmanager
    def started(self, log: str, *command: str) -> Iterator[None]:
        """A lasting part while the context lasts, its log where that of ``make up`` is."""
        file = self.home / "logs" / log
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as said:
            process = subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("runbook")
    (root / "monitoring").symlink_to(PROJECT / "monitoring")
    folder = root / "corpus" / COLLECTION
    for name, text in {"cat": "The cat purrs and hunts mice.", "whale": "The whale lives in the sea."}.items():
        write(folder / f"{name}.md", f"# The {name}\n\n{text}\n")
    write(folder / "queries.jsonl", '{"_id": "q1", "text": "which animal purrs"}\n')
    write(folder / "qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tcat.md\t1\n")
    numbers = dict(zip(PARTS.values(), free_ports(len(PARTS)), strict=True))
    ports = {standard: str(numbers[part]) for standard, part in PARTS.items()}
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EMBEDDER_", "OTEL_", "DAGSTER_")) or name == "EMBEDDER_MODEL_REPOSITORY"
    }
    variables |= {
        "PATH": f"{BIN}{os.pathsep}{variables['PATH']}",
        "EMBEDDER_CORPUS_DIR": str(root / "corpus"),
        "EMBEDDER_METRICS_PORT": ports[METRICS],
    }
    made = Machine(root, variables, ports)
    with ExitStack() as stack:
        stack.enter_context(made.started("triton.log", "embedder", "serve"))
        assert eventually(lambda: find_running(made.home / "triton") is not None, 60), said(made, "triton.log")
        published = find_running(made.home / "triton")
        assert published and published.metrics_url
        ports[TRITON] = published.metrics_url.removesuffix("/metrics").rpartition(":")[2]
        stack.enter_context(made.started("exporter.log", "embedder", "exporter"))
        result = made.run("embedder run")
        assert result.returncode == 0, result.stdout + result.stderr
        assert eventually(lambda: answers(f"http://127.0.0.1:{ports[METRICS]}/metrics"), 30), said(made, "exporter.log")
        made.services = start_services(stack, made, numbers)
        yield made


def start_services(stack: ExitStack, machine: Machine, ports: dict[str, int]) -> bool:
    """Prometheus and Alertmanager with the project's files, where they are installed."""
    if None in map(installed, NAMES):
        return False
    config = shipped(machine.root / "services", ports, machine.home)
    stack.enter_context(alertmanager(config.parent / "alertmanager.yml", ports["alerts"]))
    stack.enter_context(prometheus(config, ports["prometheus"]))
    return True


def said(machine: Machine, log: str) -> str:
    return (machine.home / "logs" / log).read_text("utf-8")


def test_every_command_runs_or_has_a_reason() -> None:
    assert EXPORTS == ['export DAGSTER_HOME="$PWD/.embedder/dagster"']
    assert len(ALL) > 50
    assert {*NOT_EXECUTED, *STATUS_1} - {*ALL} == set()


@pytest.mark.parametrize("command", ALL)
def test_a_command_uses_programs_that_are_known_here(command: str) -> None:
    parts = re.split(r"\||\$\(|>|&&|;", re.sub(r"'[^']*'", "", command))
    starts = [re.sub(r"^(?:[A-Z_]+=\S+ +)*", "", part.strip(' ")')) for part in parts]
    programs = {start.split()[0] for start in starts if start and not start.endswith(".json")}
    assert programs <= PROGRAMS


@pytest.mark.parametrize("command", [command for command in ALL if command not in NOT_EXECUTED])
def test_a_command_does_what_the_runbook_expects(command: str, machine: Machine) -> None:
    if NEEDS_SERVICES.search(command) and not machine.services:
        pytest.skip("needs Prometheus and Alertmanager (Debian: prometheus, prometheus-alertmanager)")
    result = machine.run(machine.as_here(command))
    output = f"{result.stdout}{result.stderr}"
    assert result.returncode == (1 if command in STATUS_1 else 0), output
    if command in STATUS_1:
        assert "rror" not in output and len(output) < 100
    elif "http_code" in command:
        assert result.stdout == "200\n"
