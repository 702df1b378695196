"""A real Prometheus and a real Alertmanager as processes, and what their APIs say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.support.processes import answers, eventually

MONITORING = PROJECT / "monitoring"
# Debian's name of the program first.
NAMES = {"prometheus": ("prometheus",), "prometheus-alertmanager": ("prometheus-alertmanager", "alertmanager")}


def installed(package: str) -> str | None:
    """The path of a package's program, where it is installed."""
    return next(filter(None, map(shutil.which, NAMES[package])), None)


def program(package: str) -> str:
    """The same, or a skip that names the package that has it."""
    path = installed(package)
    if path is None:
        pytest.skip(f"needs {package} (Debian: apt-get install {package})")
    return path


@contextmanager
def running(command: list[str], url: str, log: Path) -> Iterator[None]:
    """A server process while the context lasts; entered when ``url`` answers."""
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=log.parent)
    try:
        assert eventually(lambda: answers(url), 30), log.read_text("utf-8")[-3000:]
        yield
    finally:
        process.terminate()
        process.wait(30)


class Api:
    """The HTTP API of a Prometheus.

    Args:
        address: Host and port.
    """

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1"

    def value(self, expression: str) -> float | None:
        """What a query of one series returns now."""
        found = self._get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def rules(self) -> list[dict[str, Any]]:
        """All recording and alerting rules with their health and state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {one["labels"]["alertname"] for one in self._get("alerts")["alerts"] if one["state"] == "firing"}

    def _get(self, what: str, **parameters: Any) -> Any:
        try:
            with urllib.request.urlopen(
                f"{self._url}/{what}?{urllib.parse.urlencode(parameters)}", timeout=10
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


def shipped(folder: Path, ports: dict[str, int], home: Path) -> Path:
    """The shipped configuration in a folder: on other ports, and with seconds instead of minutes.

    Args:
        folder: Is made.
        ports: Of ``exporter``, ``prometheus`` and ``alerts``.
        home: Where ``embedder serve`` says on which port Triton's metrics are.
    """
    shutil.copytree(MONITORING / "prometheus", folder)
    file = folder / "prometheus.yml"
    text = file.read_text("utf-8")
    changes = {"15s": "2s", ":9090": f":{ports['prometheus']}", ":9093": f":{ports['alerts']}"}
    for earlier, present in {**changes, "../../.embedder/": f"{home}/"}.items():
        assert earlier in text
        text = text.replace(earlier, present)
    file.write_text(text, "utf-8")
    (folder / "targets" / "exporter.yml").write_text(f"- targets: ['127.0.0.1:{ports['exporter']}']\n", "utf-8")
    alerts = folder / "rules" / "alerts.yml"
    alerts.write_text(re.sub(r"for: \d+m", "for: 1s", alerts.read_text("utf-8")), "utf-8")
    notified = (MONITORING / "alertmanager" / "alertmanager.yml").read_text("utf-8").replace("30s", "1s")
    (folder / "alertmanager.yml").write_text(notified, "utf-8")
    return file


@contextmanager
def prometheus(config: Path, port: int) -> Iterator[Api]:
    """A real one on a configuration; its data and log lie next to it."""
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, f"http://127.0.0.1:{port}/-/ready", config.parent / "prometheus.log"):
        yield Api(f"127.0.0.1:{port}")


@contextmanager
def alertmanager(config: Path, port: int) -> Iterator[str]:
    """A real one on a configuration; gives its address."""
    command = [
        program("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={config.parent / 'alertmanager-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, f"http://127.0.0.1:{port}/-/ready", config.parent / "alertmanager.log"):
        yield f"127.0.0.1:{port}"


def received(address: str) -> set[str]:
    """The names of the alerts that an Alertmanager holds as active."""
    with urllib.request.urlopen(f"http://{address}/api/v2/alerts?active=true", timeout=10) as answer:
        return {alert["labels"]["alertname"] for alert in json.load(answer)}
