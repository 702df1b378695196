"""monitoring/: what Prometheus' own tools say, that each alert is tested both ways, and that each metric exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedder_assets.telemetry.runbook import names_in_code
from monitoring.grafana.build_dashboards import FOLDER, as_json
from monitoring.grafana.panels import DASHBOARDS
from tests.conftest import PROJECT

MONITORING = PROJECT / "monitoring"
RULES = MONITORING / "prometheus" / "rules"
TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))
# Scrapes of the embedded server (2.51) on a machine without a GPU, and of one with four; and Prometheus itself.
SCRAPES = (PROJECT / "tests/unit/triton_metrics").glob("*.txt")
OF_TRITON = {name for file in SCRAPES for name in re.findall(r"^# TYPE (\w+)", file.read_text("utf-8"), re.MULTILINE)}
OF_PROMETHEUS = {"up", "ALERTS"}
WORD = re.compile(r"(?<![\w:])(?:rag|nv|triton)[_:][\w:]+|\bup\b|\bALERTS\b")


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for file in RULES.glob("*.yml") for group in read(file)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def said(package: str, tool: str, *arguments: str | Path) -> str:
    """What a tool prints; a skip names what installs it."""
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"needs {tool} (Debian: apt-get install {package})")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    printed = said("prometheus", "promtool", "check", "config", MONITORING / "prometheus" / "prometheus.yml")
    assert f"{len(ALERTS)} rules found" in printed
    assert f"{len(rules()) - len(ALERTS)} rules found" in printed


def test_the_tests_of_the_rules_pass() -> None:
    assert said("prometheus", "promtool", "test", "rules", *TESTS).count("SUCCESS") == len(TESTS) == 3


def test_a_rule_that_is_broken_fails_its_test(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: apt-get install prometheus)")
    shutil.copytree(MONITORING / "prometheus", tmp_path / "prometheus")
    file = tmp_path / "prometheus" / "rules" / "alerts.yml"
    file.write_text(file.read_text("utf-8").replace("rag_sparse_coverage_ratio < 1", "rag_sparse_coverage_ratio < 0"))
    tests = tmp_path / "prometheus" / "tests" / "retrieval.yml"
    done = subprocess.run([program, "test", "rules", str(tests)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "SparseCoverageDrop" in done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    file = MONITORING / "alertmanager" / "alertmanager.yml"
    assert "SUCCESS" in said("prometheus-alertmanager", "amtool", "check-config", file)


def test_what_inhibits_and_is_inhibited_exists() -> None:
    matchers = [
        matcher
        for rule in read(MONITORING / "alertmanager" / "alertmanager.yml")["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    named = {name for matcher in matchers for name in re.findall(r"[A-Z]\w+", matcher)}
    assert len(named) >= 6
    assert named <= set(ALERTS)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_alerts_have_tests_and_annotations(alert: str) -> None:
    cases = [
        bool(case["exp_alerts"])
        for file in TESTS
        for test in read(file)["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert
    ]
    assert {True, False} == set(cases)
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert (PROJECT / rule["annotations"]["runbook_url"].split("#")[0]).is_file()


def test_the_common_failures_have_alerts() -> None:
    assert {
        *("RerankLatencySpike", "RerankFallback", "RerankFallbackPersists", "SparseCoverageDrop", "GpuMemoryHigh"),
        *("GpuMemoryCritical", "StageStalled", "NoSuccessIn24Hours", "RunsFailing", "TritonDown"),
        *("TritonQueueGrowing", "ExporterDown", "CheckFailing"),
    } <= set(ALERTS)


@pytest.mark.parametrize(
    ("where", "expression"),
    [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    + [(panel.title, query.expression) for page in DASHBOARDS for panel in page.panels() for query in panel.queries],
)
def test_every_metric_that_is_asked_for_exists(where: str, expression: str) -> None:
    ours = names_in_code()
    ours |= {f"{name}{suffix}" for name in ours for suffix in ("_bucket", "_count", "_sum")}
    named = set(WORD.findall(re.sub(r'"[^"]*"', "", expression)))
    assert named, where
    assert named - ours - OF_TRITON - OF_PROMETHEUS - RECORDED == set(), where


def test_every_recorded_series_is_used() -> None:
    expressions = [rule["expr"] for rule in ALERTS.values()]
    expressions += [query.expression for page in DASHBOARDS for panel in page.panels() for query in panel.queries]
    assert {name for name in RECORDED if not any(name in text for text in expressions)} == set()


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_grafana_reads_what_the_description_says(page: Any) -> None:
    built = json.loads(as_json(page))
    written = (FOLDER / f"{page.uid}.json").read_text("utf-8")
    assert json.loads(written) == built, "python -m monitoring.grafana.build_dashboards"
    source = read(MONITORING / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    panels = [panel for panel in built["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in page.panels()]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert asked == [query.expression for panel in page.panels() for query in panel.queries]
    assert any("$collection" in expression for expression in asked) == bool(built["templating"].get("list"))


def test_no_dashboard_is_left_over() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {page.uid for page in DASHBOARDS}
