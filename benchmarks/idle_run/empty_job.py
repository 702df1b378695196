"""A Dagster job of empty assets and checks, of a given shape, as a process of its own.

It does what Dagster asks of any run and nothing else: an instance on disk, the same partitions and executor as ours.

    python -m benchmarks.idle_run.empty_job SHAPE.json DAGSTER_HOME
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from embedder_assets.instance.sqlite_event_log import open_instance

PARTITIONS = dg.DynamicPartitionsDefinition(name="collection")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Shape = Mapping[str, Mapping[str, Sequence[str]]]


def main() -> None:
    """Runs the job once, on all partitions in one run."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    described, home = json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2])
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    job = _definitions(described["shape"]).resolve_job_def("empty")
    names = described["partitions"]
    with open_instance(home) if described["kept"] else dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("collection", names)
        tags = {"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[-1]}
        result = job.execute_in_process(instance=instance, tags=tags, run_config=QUIET)
    sys.exit(0 if result.success else 1)


def _definitions(shape: Shape) -> dg.Definitions:
    return dg.Definitions(
        assets=[_asset(name, described["deps"]) for name, described in shape.items()],
        asset_checks=[_check(name, described["checks"]) for name, described in shape.items() if described["checks"]],
        jobs=[dg.define_asset_job("empty", selection=dg.AssetSelection.all())],
        executor=dg.in_process_executor,
    )


def _asset(name: str, deps: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=deps, partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
    def empty() -> None:
        """Nothing."""

    return empty


def _check(asset: str, names: Sequence[str]) -> dg.AssetChecksDefinition:
    specs = [dg.AssetCheckSpec(name, asset=asset, blocking=True) for name in names]

    @dg.multi_asset_check(name=f"check_{asset}", specs=specs)
    def empty() -> Iterator[Any]:
        for name in names:
            yield dg.AssetCheckResult(asset_key=asset, check_name=name, passed=True)

    return empty


if __name__ == "__main__":
    main()
