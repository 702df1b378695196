"""The Dagster UI in a real browser: look at the assets, materialize a collection by clicking, see what came of it."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from embedder_assets.definitions import defs
from embedder_assets.network import loopback
from tests.support.processes import processes_of
from tests.ui.conftest import COLLECTION, Launched, Stack, launch, wait_for_end

SPECS = list(defs.resolve_all_asset_specs())


def test_the_stack_is_ready_within_30_seconds(stack: Stack) -> None:
    assert stack.seconds_to_ready < 30


def test_assets_stand_in_groups_with_descriptions(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/assets")
    for spec in SPECS:
        name = spec.key.to_user_string()
        expect(page.locator(f'a[href$="/assets/{name}"]').first).to_be_visible()
        expect(page.get_by_text(str(spec.description).strip(), exact=True)).to_be_visible()
        expect(page.get_by_text(str(spec.group_name), exact=True).first).to_be_visible()


def test_a_collection_materialized_by_clicking_succeeds(page: Page, launched: Launched) -> None:
    page.goto(launched.url)
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text(COLLECTION).first).to_be_visible()


@pytest.mark.usefixtures("launched")
def test_a_metadata_plot_appears(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/assets/dense_embeddings")
    page.get_by_text("Plots", exact=True).click()
    expect(page.locator("canvas").first).to_be_visible()
    expect(page.get_by_text("coverage_ratio").first).to_be_visible()


@pytest.mark.usefixtures("launched")
def test_check_shows_its_question_and_result(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/assets/dense_embeddings?view=checks&checkDetail=dense_coverage")
    expect(page.get_by_text("Every chunk has exactly one dense vector").first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()


def test_the_summary_links_to_trace_manifest_and_dashboard(page: Page, stack: Stack, launched: Launched) -> None:
    page.goto(f"{stack.url}/assets/processing_summary?view=events")
    trace_id = launched.run_id.replace("-", "")
    expect(page.locator(f'a[href="http://traces.test/trace/{trace_id}"]').first).to_be_visible()
    expect(page.locator('a[href="http://dashboard.test/d/rag"]').first).to_be_visible()
    manifest = stack.home / "runs" / launched.run_id / "processing_summary.json"
    expect(page.get_by_text(str(manifest)).first).to_be_visible()


@pytest.mark.parametrize("asset", ["documents", "chunks", "queries"])
@pytest.mark.usefixtures("launched")
def test_document_text_is_shown_without_fetching(asset: str, page: Page, stack: Stack) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{stack.url}/assets/{asset}?view=events")
    expect(page.get_by_text("foreign.test").first).to_be_visible()
    assert [url for url in asked if not url.startswith((stack.url, "data:", "blob:"))] == []
    assert page.locator('a[href*="foreign.test"]').count() == 0


def test_dialog_disables_a_stage_for_one_run(page: Page, stack: Stack) -> None:
    run = launch(page, stack, "resources: {pipeline: {config: {enable_rerank: false}}}")
    wait_for_end(page, stack, run)
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    manifest = json.loads((stack.home / "runs" / run.run_id / "processing_summary.json").read_text("utf-8"))
    assert manifest["feature_toggles"]["enable_rerank"] == {"value": False, "provenance": "run_config"}
    assert "rerank_run" not in manifest


def test_other_collections_run_hides_no_failure(page: Page, stack: Stack, judged: str) -> None:
    """The gate of ``judged`` has failed; a run over COLLECTION goes well after it."""
    wait_for_end(page, stack, launch(page, stack))
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    page.goto(f"{stack.url}/assets/evaluation?view=checks&checkDetail=quality_not_below_baseline")
    expect(page.get_by_text(f"{judged}, in an earlier run: ").first).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True)).to_have_count(0)
    check = 'asset="evaluation",check="quality_not_below_baseline",collection="{}",severity="error"'
    with loopback.get(f"{stack.metrics}/metrics", 30) as response:
        lines = response.read().decode().splitlines()
    verdicts = {name: f"rag_check_passed{{{check.format(name)}}}" for name in (judged, COLLECTION)}
    assert f"{verdicts[judged]} 0.0" in lines
    assert f"{verdicts[COLLECTION]} 1.0" in lines


def test_ctrl_c_during_a_run_leaves_no_process(page: Page, stack: Stack) -> None:
    launch(page, stack)
    expect(page.get_by_text("Started", exact=True).or_(page.get_by_text("Executing (1)")).first).to_be_visible()
    assert len(processes_of(str(stack.home))) >= 4
    assert stack.interrupt() == 0
    assert processes_of(str(stack.home)) == []
