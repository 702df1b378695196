"""The checks of a run's telemetry: each passes on a whole run, and fails when what it guards is taken away."""

import dataclasses

import pytest

from embedder_assets.checks import proof, telemetry
from embedder_assets.checks.proof import Proof
from embedder_assets.telemetry.emission import verify_emission
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.schema import Manifest
from embedder_assets.telemetry.manifest.summarize import RunFacts, summarize_run
from embedder_assets.telemetry.spans import read_spans
from embedder_assets.telemetry.stage_record import LeaseEvent
from tests.support.factories import GB, make_record, make_settings
from tests.support.processes import free_port
from tests.support.stage_records import RUN_ID

LEASE = [LeaseEvent(event=event, policy="shared", at=1.0) for event in ("acquired", "released")]
OWN = {
    "dense": {"models_executed": ["m"], "chunks_per_second": 1.0},
    "sparse": {"coverage_ratio": 1.0},
    "rerank": {"candidate_count": 3},
    "export": {"file_count": 1, "total_size_mb": 0.1},
}
WHOLE = {
    stage: make_record(
        stage,
        batch_latencies_s=[0.1, 0.2],
        attributes=OWN.get(stage, {}),
        lease_events=LEASE if stage in proof.LEASED else [],
    )
    for stage in ("chunk", "dense", "sparse", "fuse", "rerank", "export")
}
OFF = make_record("rerank", "off", reason="disabled via cli:--disable-rerank")


@pytest.fixture
def left(tmp_path):
    """What a run with these records, changed as asked, leaves behind."""

    def left(provenance="test", records=None, **values) -> Proof:
        settings = make_settings(tmp_path, provenance, **{"metrics_port": free_port(), **values})
        records = {**WHOLE, **(records or {})}
        manifest, path = summarize_run(settings, list(records.values()), RunFacts(RUN_ID, True, ["kb"], chunk_count=7))
        return Proof(
            settings=settings,
            run_id=RUN_ID,
            records=records,
            spans=read_spans(path.parent / "spans.jsonl"),
            manifest=manifest,
            footer=render_footer(manifest),
        )

    return left


def without_rerank(left) -> Proof:
    return left("cli:--disable-rerank", {"rerank": OFF}, enable_rerank=False)


def edited(whole: Proof, **changes) -> Proof:
    """The run with another manifest on disk."""
    content = whole.manifest.model_dump(mode="json", exclude_none=True)
    return dataclasses.replace(whole, manifest=Manifest.model_validate({**content, **changes}))


@pytest.mark.parametrize("rule", telemetry.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("run", [lambda left: left(), without_rerank], ids=["all stages", "without rerank"])
def test_a_whole_run_passes(left, rule, run):
    found = rule(run(left))
    assert found is None or found.level == "note"


def test_missing_or_extra_span_fails(left):
    whole = left()
    fewer = [span for span in whole.spans if span["name"] != "rag.sparse"]
    assert (
        "the spans are rag.chunk, rag.dense, rag.export, rag.fuse, rag.rerank"
        in proof.spans_follow_stages(dataclasses.replace(whole, spans=fewer)).text
    )
    off = dataclasses.replace(without_rerank(left), spans=whole.spans)
    assert proof.spans_follow_stages(off).text.startswith("the stages that ran are")


def test_a_span_without_its_attributes_is_seen(left):
    records = {"dense": WHOLE["dense"].model_copy(update={"attributes": {}})}
    assert proof.spans_follow_stages(left(records=records)).text == "rag.dense lacks models_executed, chunks_per_second"


def test_spans_of_another_trace_are_seen(left):
    other = dataclasses.replace(left(), run_id="11111111-1111-1111-1111-111111111111")
    assert "is not of trace 11111111111111111111111111111111" in proof.spans_follow_stages(other).text


def test_missing_observation_fails_the_check(left, monkeypatch):
    whole = left()
    monkeypatch.setattr("prometheus_client.Histogram.observe", lambda self, amount: None)
    found = proof.metrics_were_scraped(whole)
    assert found.text.startswith("rag.dense: the scrape showed 0 of 2 samples")
    assert found.level == "error"


def test_samples_counted_twice_fail_the_check(left, monkeypatch):
    whole, observe = left(), StageMetrics.observe
    monkeypatch.setattr(StageMetrics, "observe", lambda self, record: [observe(self, record) for _ in range(2)])
    assert "the scrape showed 4 of 2 samples" in proof.metrics_were_scraped(whole).text


def test_unreachable_endpoint_is_a_warning(left, monkeypatch):
    whole = left()
    monkeypatch.setattr("embedder_assets.telemetry.emission.BUSY_S", 0.0)
    monkeypatch.setattr("embedder_assets.telemetry.emission._scrape_run", _refuse)
    found = proof.metrics_were_scraped(whole)
    assert found.level == "warning"
    assert found.text.startswith("no scrape has shown this run's samples: ")


def _refuse(*_args):
    raise OSError("no route to the exporter")


def test_manifest_that_claims_too_much_fails(left):
    whole = left()
    off = {**whole.records, "rerank": OFF}
    found = proof.metrics_were_scraped(dataclasses.replace(whole, records=off))
    assert found.text == "rag.rerank: the manifest says emitted, and disabled via cli:--disable-rerank"


def test_idle_run_passes_with_a_note(left):
    idle = {stage: record.model_copy(update={"batch_latencies_s": []}) for stage, record in WHOLE.items()}
    assert proof.metrics_were_scraped(left(records=idle)).level == "note"


def test_device_above_limit_warns_by_name(left):
    records = {"dense": WHOLE["dense"].model_copy(update={"gpu_peak_bytes": {"GPU-a": GB, "GPU-b": 13 * GB}})}
    found = proof.gpu_within_soft_limit(left(records=records))
    assert found.level == "warning"
    assert found.text.startswith("13.0 GB on GPU-b, above the soft limit of 12.0 GB")
    assert proof.gpu_within_soft_limit(left(records=records, gpu_soft_limit_gb=14)) is None


def test_section_of_disabled_stage_fails(left):
    off, whole = without_rerank(left), left()
    section = whole.manifest.model_dump(mode="json", exclude_none=True)["rerank_run"]
    assert (
        proof.manifest_follows_toggles(edited(off, rerank_run=section)).text
        == "'rerank_run' is there, the stage was off"
    )
    assert (
        "'sparse_run' is absent, the stage ran" in proof.manifest_follows_toggles(edited(whole, sparse_run=None)).text
    )


def test_a_toggle_with_another_provenance_is_seen(left):
    off = without_rerank(left)
    toggles = off.manifest.model_dump(mode="json")["feature_toggles"]
    toggles["enable_rerank"] = {"value": False, "provenance": "default"}
    assert "the manifest has enable_rerank" in proof.manifest_follows_toggles(edited(off, feature_toggles=toggles)).text


def test_wrong_footer_fails_the_proof(left):
    whole = left()
    wrong = whole.footer.replace("gpu_soft_limit: no_gpu", "gpu_soft_limit: within_limit")
    found = proof.footer_says_what_the_manifest_says(dataclasses.replace(whole, footer=wrong))
    assert found.text == "shown, and not in the manifest: gpu_soft_limit: within_limit"


def test_unreleased_lease_fails_the_proof(left):
    records = {"fuse": WHOLE["fuse"].model_copy(update={"lease_events": LEASE[:1]})}
    found = proof.leases_are_complete(left(records=records))
    assert found.text == "expected acquired, released: rag.fuse: acquired"


def test_undocumented_metric_fails(left, monkeypatch):
    names = proof.runbook.names_in_code()
    monkeypatch.setattr(proof.runbook, "names_in_code", lambda: names | {"rag_new_total"})
    found = proof.telemetry_is_documented(left())
    assert found.text == "the runbook does not describe rag_new_total"


def test_emission_and_check_agree_on_the_same_run(left):
    whole = left()
    again = verify_emission(whole.settings, RUN_ID, whole.records.values())
    assert {status.scrape for status in again.values()} == {"complete"}
