"""Shards: what each of them stages, what the run over the collection then finds, and when that run is asked for."""

import dagster as dg
import polars as pl
import pytest

from embedder_assets.automation.jobs import MAIN
from embedder_assets.automation.shards import shard_vectors, sharded_collections
from embedder_assets.definitions import defs
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.instance.dagster_private import BACKFILL_ID_TAG
from embedder_assets.partitions import COLLECTION_TAG, SHARD_TAG, SHARDS, collections_of_run
from embedder_assets.tables.digest_ranges import FULL_RANGE, MAX_RANGES, digest_ranges, equal_ranges
from embedder_assets.tables.store import TableStore
from tests.support.factories import DENSE, FakeTriton, make_chunks, make_meter, make_settings, sha256

COUNT = 8
TEXTS = [f"text {number}" for number in range(100)]
ENDED_WELL, ON = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED


@pytest.fixture
def store(tmp_path) -> TableStore:
    store = TableStore(tmp_path)
    # Some texts stand in two places.
    store.replace("chunks", "kb", make_chunks(*TEXTS, *TEXTS[:20]))
    return store


@pytest.fixture
def stage(store, tmp_path):
    def of(triton: FakeTriton) -> EmbeddingStage:
        return EmbeddingStage(store, triton, make_settings(tmp_path), [DenseEncoder(DENSE, "dense-1")])

    return of


@pytest.mark.parametrize("count", [1, 3, COUNT, 1000, MAX_RANGES])
def test_every_digest_is_in_one_shard(count):
    ranges = equal_ranges(count)
    digests = pl.DataFrame({"content_sha256": [sha256(str(number)) for number in range(500)] + ["0" * 64, "f" * 64]})
    assert sum(digests.filter(part.rows).height for part in ranges) == digests.height
    assert (ranges[0].low, ranges[-1].high) == (FULL_RANGE.low, FULL_RANGE.high)


def test_overlapping_ranges_intersect():
    first, second, third = equal_ranges(3)
    assert (first.within(FULL_RANGE), FULL_RANGE.within(third)) == (first, third)
    assert (first.within(second), second.within(first)) == (None, None)
    halves = equal_ranges(2)
    middle = [part for part in (second.within(half) for half in halves) if part is not None]
    assert [(part.low, part.high) for part in middle] == [(second.low, halves[0].high), (halves[1].low, second.high)]


@pytest.mark.parametrize("blocks", [1, 5])
def test_shards_stage_every_text_once(store, stage, monkeypatch, blocks):
    monkeypatch.setattr("embedder_assets.embedding.stage.digest_ranges", lambda _: digest_ranges(blocks * 30_000))
    triton, wanted = FakeTriton(), []
    for part in equal_ranges(COUNT):
        (pending,) = stage(triton).prepare("kb", make_meter(), part)
        assert pending.chunks == pending.wanted == pending.missing
        wanted.append(pending.wanted)
    assert sorted(triton.texts) == sorted(TEXTS)
    assert (sum(wanted), min(wanted) > 0) == (120, True)
    assert not store.exists("dense_embeddings")
    again = FakeTriton()
    (outcome,) = stage(again).run("kb", make_meter())
    assert (outcome.rows, outcome.computed, outcome.reused, again.requests) == (120, 0, 120, [])


def test_shard_computes_only_its_missing_texts(stage):
    first, second = equal_ranges(2)
    triton = FakeTriton()
    stage(triton).prepare("kb", make_meter(), first)
    assert {sha256(text) < second.low for text in triton.texts} == {True}
    again = FakeTriton()
    (pending,) = stage(again).prepare("kb", make_meter(), first)
    assert (pending.computed, again.requests) == (0, [])


def test_shard_of_published_collection_has_no_work(stage):
    stage(FakeTriton()).run("kb", make_meter())
    triton = FakeTriton()
    (pending,) = stage(triton).prepare("kb", make_meter(), equal_ranges(COUNT)[3])
    assert (pending.missing, triton.requests, pending.wanted > 0) == (0, [], True)


# The job and its sensor

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `repository_def`:dagster.BetaWarning")


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "corpus"))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        instance.add_dynamic_partitions("collection", ["kb", "other"])
        yield instance


def run_of(instance, shard: str, status=ENDED_WELL, *, backfill: str | None = "b1", collection: str = "kb"):
    tags = {COLLECTION_TAG: collection, SHARD_TAG: shard, **({BACKFILL_ID_TAG: backfill} if backfill else {})}
    return instance.create_run_for_job(defs.resolve_job_def(shard_vectors.name), tags=tags, status=status)


def decided(instance) -> list[dg.RunRequest | dg.SkipReason]:
    context = dg.build_sensor_context(instance, repository_def=defs.get_repository_def())
    return list(sharded_collections(context))


def requested(instance) -> list[tuple[str | None, str | None]]:
    """(collection, run key) of each request."""
    return [(each.partition_key, each.run_key) for each in decided(instance) if isinstance(each, dg.RunRequest)]


def skipped(instance) -> str | None:
    [reason] = decided(instance)
    assert isinstance(reason, dg.SkipReason)
    return reason.skip_message


def test_last_shard_requests_a_collection_run(instance):
    for shard in SHARDS:
        assert requested(instance) == []
        run_of(instance, shard)
    [request] = decided(instance)
    assert (request.partition_key, request.run_key) == ("kb", "b1/kb")
    assert set(request.asset_selection) == MAIN.resolve(defs.resolve_asset_graph())
    # Dagster takes a key once.
    assert requested(instance) == [("kb", "b1/kb")]


def test_without_a_backfill_nothing_is_asked_for(instance):
    assert skipped(instance) == "no backfill has embedded a shard"


def test_finished_backfill_requests_each_collection(instance):
    for shard in SHARDS:
        run_of(instance, shard)
        run_of(instance, shard, collection="other")
    assert sorted(requested(instance)) == [("kb", "b1/kb"), ("other", "b1/other")]


def test_wiped_log_hides_no_later_backfill(instance):
    before = [run_of(instance, shard, backfill="b0") for shard in SHARDS]
    assert requested(instance) == [("kb", "b0/kb")]
    instance.delete_run(before[-1].run_id)
    for shard in SHARDS:
        run_of(instance, shard)
    assert requested(instance) == [("kb", "b1/kb")]
    instance.wipe()
    assert requested(instance) == []
    for shard in SHARDS:
        run_of(instance, shard, backfill="b2")
    assert requested(instance) == [("kb", "b2/kb")]


@pytest.mark.parametrize(
    "last",
    [{"status": ON}, {"status": dg.DagsterRunStatus.FAILURE}, {"backfill": "b0"}, {"collection": "other"}],
    ids=["is on", "failed", "of another backfill", "of another collection"],
)
def test_unembedded_shard_delays_its_collection(instance, last):
    for shard in SHARDS[:-1]:
        run_of(instance, shard)
    run_of(instance, SHARDS[-1], **last)
    assert "collection 'kb': 1 of 8 shards are not embedded yet" in skipped(instance)


def test_retried_shard_counts(instance):
    for shard in SHARDS[:-1]:
        run_of(instance, shard)
    run_of(instance, SHARDS[-1], dg.DagsterRunStatus.FAILURE)
    run_of(instance, SHARDS[-1])
    assert requested(instance) == [("kb", "b1/kb")]


def test_single_shard_run_requests_nothing(instance):
    for shard in SHARDS:
        run_of(instance, shard, backfill=None)
    assert requested(instance) == []


def test_shard_run_is_about_its_collection(instance):
    assert collections_of_run(instance, run_of(instance, "3", collection="other")) == ["other"]


def test_collection_without_chunks_is_named_with_remedy(instance):
    result = defs.resolve_job_def(shard_vectors.name).execute_in_process(
        instance=instance,
        partition_key=dg.MultiPartitionKey({"collection": "kb", "shard": "0"}),
        raise_on_error=False,
    )
    assert not result.success
    (failure,) = result.get_step_failure_events()
    said = failure.event_specific_data.user_failure_data.description
    assert said.startswith("collection 'kb': the shards of collection 'kb': expected chunks to embed, got none.")
    assert "Materialize `documents` and `chunks` of it first" in said
