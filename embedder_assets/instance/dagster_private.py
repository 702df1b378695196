"""Every name that we import from Dagster's private modules, so that an upgrade of Dagster is checked in one place.

Dagster promises nothing about them: ``tests/unit/instance/test_dagster_private.py`` says for each what it is needed
for and what it has to be. Nothing else in the package imports ``dagster._…``.
"""

from typing import TYPE_CHECKING, Any

from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.tags import (
    BACKFILL_ID_TAG,
    MAX_RETRIES_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    RETRY_STRATEGY_TAG,
    get_multidimensional_partition_tag,
)
from dagster._serdes import ConfigurableClassData

if TYPE_CHECKING:
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
else:

    def __getattr__(name: str) -> Any:
        """The one name that imports SQLAlchemy and Alembic; a code location loads without them, a quarter faster."""
        if name == "SqliteEventLogStorage":
            from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

            return SqliteEventLogStorage
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BACKFILL_ID_TAG",
    "MAX_RETRIES_TAG",
    "NOT_FINISHED_STATUSES",
    "RETRY_ON_ASSET_OR_OP_FAILURE_TAG",
    "RETRY_STRATEGY_TAG",
    "SQLITE_BUSY_TIMEOUT_SECONDS",
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "CapturedLogContext",
    "ConfigurableClassData",
    "InstanceRef",
    "LocalComputeLogManager",
    "RegisteredCodeLocationOrigin",
    "RemoteRepositoryOrigin",
    "SqliteEventLogStorage",
    "get_multidimensional_partition_tag",
]
