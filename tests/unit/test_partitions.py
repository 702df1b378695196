import dagster as dg
import pytest

from embedder_assets.partitions import PARTITIONS_NAME, collections, contiguous_ranges, register


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A corpus folder with the collections x and y."""
    for name in ("x", "y"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "corpus"))
    return tmp_path / "corpus"


def keys(instance: dg.DagsterInstance) -> list[str]:
    return list(collections.get_partition_keys(dynamic_partitions_store=instance))


@pytest.mark.parametrize(
    ("names", "ranges"),
    [
        ([], []),
        (["a"], [("a", "a")]),
        (["a", "b", "c", "d", "e"], [("a", "e")]),
        (["e", "b", "a", "b"], [("a", "b"), ("e", "e")]),
        (["a", "e"], [("a", "a"), ("e", "e")]),
        (["d", "c", "a"], [("a", "a"), ("c", "d")]),
    ],
)
def test_neighbours_become_one_range(instance, names, ranges):
    register(instance, "abcde")
    assert contiguous_ranges(instance, names) == ranges


def test_ranges_follow_registration_order(instance):
    register(instance, ["m", "a", "z"])
    assert contiguous_ranges(instance, ["a", "z"]) == [("a", "z")]
    assert contiguous_ranges(instance, ["m", "z"]) == [("m", "m"), ("z", "z")]


def test_a_range_selects_exactly_its_collections(instance, corpus):
    register(instance, ["m", "a", "z", "b"])
    wanted = ["z", "a", "m"]
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        found = [
            name
            for first, last in contiguous_ranges(instance, wanted)
            for name in collections.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
        ]
    assert sorted(found) == sorted(wanted)


def test_a_range_to_an_unknown_collection_is_refused(instance, corpus):
    register(instance, ["a"])
    with (
        dg.partition_loading_context(dynamic_partitions_store=instance),
        pytest.raises(dg.DagsterInvalidInvocationError, match="nowhere"),
    ):
        collections.get_partition_keys_in_range(dg.PartitionKeyRange("a", "nowhere"))


def test_registering_twice_adds_nothing(instance):
    register(instance, ["a", "b"])
    register(instance, ["b", "c"])
    assert list(instance.get_dynamic_partitions(PARTITIONS_NAME)) == ["a", "b", "c"]


def test_unregistered_folder_is_a_valid_key(instance, corpus):
    assert keys(instance) == ["x", "y"]
    assert collections.has_partition_key("x", dynamic_partitions_store=instance)
    assert not collections.has_partition_key("nowhere", dynamic_partitions_store=instance)


def test_registered_keys_come_first_and_only_once(instance, corpus):
    register(instance, ["old", "y"])
    assert keys(instance) == ["old", "y", "x"]


def test_without_a_corpus_folder_the_registered_keys_remain(instance, monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "nowhere"))
    register(instance, ["a"])
    assert keys(instance) == ["a"]


def test_unregistered_folder_can_be_materialized(instance, corpus):
    @dg.asset(partitions_def=collections)
    def echo(context: dg.AssetExecutionContext) -> str:
        return context.partition_key

    result = dg.materialize([echo], partition_key="x", instance=instance)
    assert result.output_for_node("echo") == "x"
