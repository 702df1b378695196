"""A Dagster run of empty assets, and of empty checks where they are described. Imports Dagster and nothing of ours.

Usage: ``python empty.py DESCRIPTION.json``, with DAGSTER_HOME set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

PARTITIONS = "collection"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def empty_asset(name: str, deps: list[str]) -> dg.AssetsDefinition:
    """An asset that does nothing, partitioned as ours are."""

    @dg.asset(
        name=name,
        deps=deps,
        partitions_def=dg.DynamicPartitionsDefinition(name=PARTITIONS),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def asset() -> None:
        pass

    return asset


def empty_checks(name: str, asset: str, checks: list[str], blocking: bool) -> dg.AssetChecksDefinition:
    """Checks of an asset that always pass, in one step."""
    specs = [dg.AssetCheckSpec(check, asset=asset, blocking=blocking) for check in checks]

    @dg.multi_asset_check(name=name, specs=specs)
    def check() -> Iterator[dg.AssetCheckResult]:
        for each in checks:
            yield dg.AssetCheckResult(passed=True, asset_key=asset, check_name=each)

    return check


def main(description: dict[str, Any]) -> None:
    """Runs all of it on a range of partitions."""
    defs = dg.Definitions(
        assets=[empty_asset(name, deps) for name, deps in description["assets"].items()],
        asset_checks=[empty_checks(**each) for each in description["checks"]],
        jobs=[dg.define_asset_job("empty", selection=dg.AssetSelection.all())],
        executor=dg.in_process_executor,
    )
    names = description["partitions"]
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(PARTITIONS, names)
        result = defs.resolve_job_def("empty").execute_in_process(
            instance=instance,
            tags={"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[-1]},
            run_config=QUIET,
        )
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
