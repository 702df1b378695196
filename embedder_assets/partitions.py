"""A collection is a partition: its tables are updated and watched one by one."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from embedder_assets.corpus.collections import discover_collections
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.errors import EmbedderError
from embedder_assets.instance.dagster_private import get_multidimensional_partition_tag
from embedder_assets.settings import ENV_PREFIX, SETTINGS_FILE, load_settings, settings_at_load

PARTITIONS_NAME = "collection"
SHARD = "shard"
# Of a run on a shard; Dagster sets it for each dimension of the partition.
COLLECTION_TAG, SHARD_TAG = map(get_multidimensional_partition_tag, (PARTITIONS_NAME, SHARD))
SHARDS = [str(number) for number in range(settings_at_load().shards)]


class CollectionPartitionsDefinition(dg.DynamicPartitionsDefinition):
    """The partitions that the Dagster instance knows, and the collections of the corpus folder at hand.

    So ``dagster asset materialize --partition NAME`` works on a fresh instance, where nobody has registered NAME yet.
    """

    def get_partition_keys(self, *args: Any, **kwargs: Any) -> Sequence[str]:
        """Registered keys first, in their order, then the folders that are not registered."""
        registered = super().get_partition_keys(*args, **kwargs)
        return [*registered, *(name for name in _folders() if name not in registered)]

    def has_partition_key(self, partition_key: str, *args: Any, **kwargs: Any) -> bool:
        """Whether a name is a registered key or a collection of the corpus folder."""
        # A run asks for every event, and a look at a folder costs less than one into a database.
        return partition_key in _folders() or super().has_partition_key(partition_key, *args, **kwargs)

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """The keys from one to another. Dagster asks dozens of times per run, so this is one look into its storage."""
        keys, (first, last) = self.get_partition_keys(), (partition_key_range.start, partition_key_range.end)
        if first not in keys or last not in keys:
            return super().get_partition_keys_in_range(partition_key_range)
        return keys[keys.index(first) : keys.index(last) + 1]


collections = CollectionPartitionsDefinition(name=PARTITIONS_NAME)


shards = dg.MultiPartitionsDefinition({PARTITIONS_NAME: collections, SHARD: dg.StaticPartitionsDefinition(SHARDS)})


def backfill_policy() -> dg.BackfillPolicy | None:
    """How many collections one run of a backfill takes: all, so that one manifest and one footer tell all of it.

    ``EMBEDDER_COLLECTIONS_PER_RUN`` makes several runs of it, for several workers. None is Dagster's word for one: such
    a run has its collection as a tag, by which the queue holds back a second run of it.
    """
    size = settings_at_load().collections_per_run
    if size is None:
        return dg.BackfillPolicy.single_run()
    return None if size == 1 else dg.BackfillPolicy.multi_run(size)


def register(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Makes collections known to an instance; those it knows already stay as they are."""
    instance.add_dynamic_partitions(PARTITIONS_NAME, list(names))


def known_collections(instance: dg.DagsterInstance) -> list[str]:
    """The collections that an instance knows, and those of the corpus folder."""
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return list(collections.get_partition_keys())


def contiguous_ranges(instance: dg.DagsterInstance, names: Sequence[str]) -> list[tuple[str, str]]:
    """Names grouped into (first, last) ranges of neighbours, since one Dagster run takes one range of partitions."""
    known = list(instance.get_dynamic_partitions(PARTITIONS_NAME))
    ranges: list[tuple[str, str]] = []
    for position in sorted(known.index(name) for name in set(names)):
        if ranges and known[position - 1] == ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], known[position])
        else:
            ranges.append((known[position], known[position]))
    return ranges


def collections_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """The collections that a run is about; all of them for a run without partitions, as of a check alone."""
    return list(_collections_of(instance, run.run_id, tuple(sorted(run.tags.items()))))


@functools.lru_cache(maxsize=1)  # every asset and every check of a run asks
def _collections_of(instance: dg.DagsterInstance, _run_id: str, items: tuple[tuple[str, str], ...]) -> list[str]:
    tags = dict(items)
    if COLLECTION_TAG in tags:
        return [tags[COLLECTION_TAG]]
    if "dagster/partition" in tags:
        return [tags["dagster/partition"]]
    if "dagster/asset_partition_range_start" not in tags:
        return known_collections(instance)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        first, last = tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]
        return list(collections.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))


def other_collections(instance: dg.DagsterInstance, run: dg.DagsterRun) -> frozenset[str]:
    """The collections that there are and that a run is not about."""
    return _other_collections(instance, run.run_id, tuple(collections_of_run(instance, run)))


@functools.lru_cache(maxsize=1)  # every check of a run asks
def _other_collections(instance: dg.DagsterInstance, _run_id: str, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(known_collections(instance)) - set(names)


def _folders() -> list[str]:
    with contextlib.suppress(EmbedderError):
        own = tuple(sorted(item for item in os.environ.items() if item[0].startswith(ENV_PREFIX)))
        file = Path(SETTINGS_FILE)
        return [each.name for each in discover_collections(_corpus_dir(own, Path.cwd(), _written(file)))]
    return []


@functools.lru_cache(maxsize=1)
def _corpus_dir(_environment: tuple[tuple[str, str], ...], _directory: Path, _file: int | None) -> Path:
    """The corpus folder of the settings, which are read again when anything that they come from has changed."""
    settings = load_settings()
    # The first look of a host at a corpus that is in a bucket; each run looks again.
    first_look = settings.corpus_url and not settings.corpus_dir.exists()
    return sync_corpus(settings) if first_look else settings.corpus_dir


def _written(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None
