"""The private names of Dagster that we build on: each is still there, and still is what we take it for."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import embedder_assets

PACKAGE = Path(embedder_assets.__file__).parent
OWNER = PACKAGE / "instance" / "dagster_private.py"
# Name to what we need it for; a failing test shows it.
PURPOSES = {
    "AssetCheckExecutionRecord": "telemetry/check_results.py reads evaluations that are made or still due",
    "AssetCheckExecutionRecordStatus": "telemetry/check_results.py tells made evaluations from those still due",
    "BACKFILL_ID_TAG": "automation/shards.py groups the runs of one backfill",
    "CapturedLogContext": "instance/compute_logs.py gives it to the steps whose output it copies",
    "ConfigurableClassData": "instance/sqlite_event_log.py names our storage classes in an instance",
    "InstanceRef": "instance/sqlite_event_log.py opens an instance with our storage classes",
    "LocalComputeLogManager": "instance/compute_logs.py derives from it",
    "MAX_RETRIES_TAG": "instance/job_origin.py keeps the daemon from retrying runs of the command line",
    "NOT_FINISHED_STATUSES": "sensors and check results look for runs that are queued or in progress",
    "RETRY_ON_ASSET_OR_OP_FAILURE_TAG": "assets/support/materialize.py asks for a retry where Triton did not answer",
    "RETRY_STRATEGY_TAG": "automation/jobs.py has a retry run all steps",
    "RegisteredCodeLocationOrigin": "instance/job_origin.py makes our runs appear in the timeline of the UI",
    "RemoteRepositoryOrigin": "instance/job_origin.py makes our runs appear in the timeline of the UI",
    "SQLITE_BUSY_TIMEOUT_SECONDS": "instance/sqlite_event_log.py waits for a locked database as long as Dagster does",
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION": "assets/support/materialize.py ends a step that made nothing",
    "SqliteEventLogStorage": "instance/sqlite_event_log.py derives from it",
    "get_multidimensional_partition_tag": "partitions.py reads collection and shard from the tags of a run",
}
IMPORT = re.compile(r"^\s*from (dagster\._[\w.]+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


def module_of_each_name() -> dict[str, str]:
    found = {}
    for module, several, one in IMPORT.findall(OWNER.read_text("utf-8")):
        found |= {name.strip(): module for name in (several or one).split(",") if name.strip()}
    return found


def private(name: str) -> object:
    """The thing itself, looked up in Dagster; the test ends with the reason why it matters where it is gone."""
    module = module_of_each_name()[name]
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"Dagster {dg.__version__} has no {module}.{name} any more ({error}); {PURPOSES[name]}")


def test_each_private_name_has_a_purpose_here():
    assert module_of_each_name().keys() == PURPOSES.keys()


@pytest.mark.parametrize("name", PURPOSES)
def test_private_name_is_still_there(name):
    private(name)


def test_no_other_module_imports_private_dagster():
    users = {file for file in PACKAGE.rglob("*.py") if re.search(r"(?m)^\s*(from|import) dagster\._", file.read_text())}
    assert users == {OWNER}


def test_code_location_loads_without_alembic():
    code = "import sys, embedder_assets.definitions; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKFILL_ID_TAG", "dagster/backfill"),
        ("MAX_RETRIES_TAG", "dagster/max_retries"),
        ("RETRY_ON_ASSET_OR_OP_FAILURE_TAG", "dagster/retry_on_asset_or_op_failure"),
        ("RETRY_STRATEGY_TAG", "dagster/retry_strategy"),
        ("SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION", "__source_asset_observation__"),
    ],
)
def test_tag_keeps_its_value(name, value):
    """Runs and events of an earlier Dagster carry these values."""
    assert private(name) == value


def test_dimension_tag_names_its_dimension():
    assert private("get_multidimensional_partition_tag")("shard") == "dagster/partition/shard"


def test_unfinished_statuses_leave_out_the_ended():
    ended = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    statuses = set(private("NOT_FINISHED_STATUSES"))
    assert not ended & statuses
    assert {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING} <= statuses


def test_busy_timeout_is_in_seconds():
    assert 1 <= private("SQLITE_BUSY_TIMEOUT_SECONDS") <= 600


def test_marked_result_ends_a_step_without_materialization():
    marker = private("SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION")

    @dg.asset
    def upstream() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={marker: True})

    @dg.asset(deps=[upstream])
    def downstream() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([upstream, downstream], instance=instance)
        made = [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]
    assert made == ["downstream"]


def test_check_record_has_what_results_need():
    fields = {"id", "run_id", "status", "event", "evaluation"}
    record = private("AssetCheckExecutionRecord")
    assert fields - {"evaluation"} <= set(inspect.signature(record).parameters)
    assert hasattr(record, "evaluation")
    assert {"PLANNED", "SUCCEEDED", "FAILED"} <= set(private("AssetCheckExecutionRecordStatus").__members__)


def test_instance_reference_names_its_storages(tmp_path):
    reference = private("InstanceRef").from_dir(str(tmp_path))
    assert {"event_storage_data", "storage_data", "compute_logs_data"} <= set(reference._fields)
    assert isinstance(reference.compute_logs_data, private("ConfigurableClassData"))
    assert {"module_name", "class_name", "config_yaml"} <= set(private("ConfigurableClassData")._fields)


def test_event_storage_has_what_ours_replaces():
    storage = private("SqliteEventLogStorage")
    for method in ("_connect", "_initdb", "path_for_shard", "conn_string_for_shard", "has_table", "wipe", "dispose"):
        assert callable(getattr(storage, method, None)), method


def test_log_manager_has_what_ours_replaces():
    manager = private("LocalComputeLogManager")
    for method in ("capture_logs", "get_captured_local_path", "from_config_value"):
        assert callable(getattr(manager, method, None)), method
    assert private("CapturedLogContext")(["a", "key"]).log_key == ["a", "key"]


def test_job_origin_names_location_and_job():
    location = private("RegisteredCodeLocationOrigin")("a.location")
    origin = private("RemoteRepositoryOrigin")(location, "repository").get_job_origin("job")
    assert (origin.job_name, origin.location_name) == ("job", "a.location")
