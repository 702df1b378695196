"""Records of stages as a run leaves them, for the tests of telemetry."""

from __future__ import annotations

import dagster as dg

from embedder_assets.telemetry.event_log import ASSET_OF_STAGE, as_observation
from embedder_assets.telemetry.stage_record import StageRecord
from tests.support.factories import make_record

RUN_ID = "3f2b8c1e-9d4a-4c7b-8e6f-1a2b3c4d5e6f"
ALL_STAGES = [make_record(stage, batch_latencies_s=[0.1, 0.2]) for stage in ASSET_OF_STAGE]
OFF = make_record("rerank", "off", reason="disabled via cli:--disable-rerank")
FAILED = make_record("dense", "failed", reason="InferenceError: no answer")
RICH = make_record(
    "dense",
    batch_latencies_s=[0.1, 0.2],
    items={"computed": 2},
    coverage={"kb": 1.0},
    attributes={"models_executed": ["m"]},
)


def with_off(*off: StageRecord) -> list[StageRecord]:
    """All stages, with these in the place of their own."""
    stages = {record.stage for record in off}
    return [record for record in ALL_STAGES if record.stage not in stages] + list(off)


def leave(instance: dg.DagsterInstance, *records: StageRecord, then_raise: bool = False) -> str:
    """A Dagster run whose assets leave these records; returns its run id."""

    def asset_of(record: StageRecord):
        @dg.asset(name=ASSET_OF_STAGE[record.stage])
        def stage():
            yield as_observation(record)
            if then_raise:
                raise RuntimeError("after the record")
            yield dg.MaterializeResult()

        return stage

    result = dg.materialize([asset_of(record) for record in records], instance=instance, raise_on_error=False)
    assert result.success is not then_raise
    return result.run_id
