"""How the code location presents itself: nobody meets an asset, a check or a job without a word on it."""

from __future__ import annotations

import dagster as dg
import pytest

from embedder_assets.definitions import defs
from embedder_assets.resources import PipelineResource

SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
def test_assets_have_complete_metadata(spec: dg.AssetSpec) -> None:
    assert spec.group_name not in (None, "default")
    assert spec.owners == ["team:rag"]
    assert spec.kinds
    assert spec.tags["stage"]
    assert spec.description.endswith(".")


def test_every_check_job_schedule_and_sensor_is_described() -> None:
    repository = defs.get_repository_def()
    checks = defs.resolve_asset_graph().asset_check_keys
    described = {key.name: defs.resolve_asset_graph().get_check_spec(key).description for key in checks}
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    described |= {each.name: each.description for each in (*jobs, *repository.schedule_defs, *repository.sensor_defs)}
    assert [name for name, text in described.items() if not text] == []


def test_the_launch_configuration_explains_each_field() -> None:
    assert {*PipelineResource.model_fields} == {"corpus_dir", "enable_sparse", "enable_rerank", "max_lost_share"}
    assert all(field.description for field in PipelineResource.model_fields.values())
