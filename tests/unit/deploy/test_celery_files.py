"""deploy/celery: its files agree with each other and with the instance of Docker Compose."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import validate_config
from dagster_celery import celery_executor

from embedder_assets.instance.celery_launcher import CancelingCeleryRunLauncher
from embedder_assets.partitions import backfill_policy
from tests.conftest import PROJECT


def read(*path: str) -> dict[str, Any]:
    return yaml.safe_load(PROJECT.joinpath(*path).read_text("utf-8"))


INSTANCE, COMPOSE = read("deploy", "celery", "dagster.yaml"), read("docker", "dagster.yaml")
LAUNCHER = INSTANCE["run_launcher"]["config"]
WORKER = read("deploy", "celery", "worker.yaml")["execution"]["config"]


def test_instance_is_compose_with_another_launcher() -> None:
    for part in ("storage", "telemetry", "nux", "run_retries"):
        assert INSTANCE[part] == COMPOSE[part]
    limits = COMPOSE["concurrency"]["runs"]["tag_concurrency_limits"]
    assert INSTANCE["run_coordinator"]["config"]["tag_concurrency_limits"] == limits


def test_daemon_and_workers_share_broker_settings() -> None:
    for part in ("broker", "backend"):
        assert LAUNCHER[part] == WORKER[part]
    assert LAUNCHER["config_source"]["result_expires"] == WORKER["config_source"]["result_expires"]


def test_dagster_takes_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CELERY_BROKER", "redis://127.0.0.1:1/0")
    for schema, config in (
        (CancelingCeleryRunLauncher.config_type(), LAUNCHER),
        (celery_executor.config_schema, WORKER),
    ):
        fields = getattr(schema, "config_type", schema)
        assert validate_config(fields, config).success
        assert not validate_config(fields, {**config, "brocker": "redis://"}).success


@pytest.mark.parametrize(("size", "words"), [(None, "SINGLE_RUN"), ("1", None), ("3", "MULTI_RUN")])
def test_a_backfill_is_one_run_or_several(size: str | None, words: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if size:
        monkeypatch.setenv("EMBEDDER_COLLECTIONS_PER_RUN", size)
    policy = backfill_policy()
    assert (policy and policy.policy_type.name) == words
    assert policy is None or policy.max_partitions_per_run == (int(size) if size else None)


def test_termination_cancels_only_unfinished_runs() -> None:
    names = INSTANCE["run_launcher"]
    assert (names["module"], names["class"]) == (
        CancelingCeleryRunLauncher.__module__,
        CancelingCeleryRunLauncher.__name__,
    )
    launcher = CancelingCeleryRunLauncher(default_queue="dagster", broker="memory://", backend="cache+memory://")
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        on, ended = (
            instance.add_run(
                dg.DagsterRun(job_name="rag_tables", status=status, tags={"dagster-celery/task_id": status.value})
            )
            for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
        )
        assert launcher.terminate(on.run_id)
        assert not launcher.terminate(ended.run_id)
        assert not launcher.terminate("no such run")
        statuses = [run.status for run in map(instance.get_run_by_id, (on.run_id, ended.run_id)) if run]
    assert statuses == [dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.SUCCESS]
