"""How agreement with golden values is measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.golden import agreement, read_golden, write_golden
from tests.unit.serving.models.test_description import describe

VECTORS = np.array([[3.0, 4.0], [1.0, 0.0]])


def test_the_lowest_cosine_counts():
    assert agreement("dense", {"embedding": VECTORS}, {"embedding": VECTORS * 2}) == pytest.approx(1.0)
    turned = np.array([[3.0, 4.0], [1.0, 1.0]])
    assert agreement("dense", {"embedding": turned}, {"embedding": VECTORS}) == pytest.approx(0.5**0.5)


def test_sparse_pairs_are_compared_by_index():
    ours = {"indices": np.array([[7, 3]]), "values": np.array([[2.0, 1.0]])}
    swapped = {"indices": np.array([[3, 7]]), "values": np.array([[1.0, 2.0]])}
    other = {"indices": np.array([[7, 5]]), "values": np.array([[2.0, 1.0]])}
    assert agreement("sparse", ours, swapped) == pytest.approx(1.0)
    assert agreement("sparse", ours, other) == pytest.approx(4 / 5)


def test_scores_are_compared_by_correlation():
    scores = np.array([[1.0], [2.0], [4.0]])
    assert agreement("rerank", {"score": scores}, {"score": scores * 3 + 1}) == pytest.approx(1.0)
    assert agreement("rerank", {"score": -scores}, {"score": scores}) == pytest.approx(-1.0)


def test_golden_values_are_stored_rounded(tmp_path):
    write_golden(tmp_path, describe(), "transformers 5", {"embedding": np.full((6, 2), 1 / 3)})
    golden = read_golden(tmp_path, describe())
    assert golden is not None
    assert (golden.reference, golden.of_framework, len(golden.rows)) == ("transformers 5", True, 6)
    np.testing.assert_array_equal(golden.outputs["embedding"], np.full((6, 2), 0.33333))


@pytest.mark.parametrize(
    "changed",
    [
        None,
        [],
        {"outputs": []},
        {"outputs": {"embedding": ["a", "b"]}},
        {"outputs": {"embedding": [[1.0], [1.0, 2.0]]}},
        {"outputs": {"embedding": [[1.0]]}},
        {"reference": 5},
        {"rows": 1},
        {"more": 1},
    ],
)
def test_damaged_golden_file_is_refused(tmp_path, changed):
    write_golden(tmp_path, describe(), "transformers 5", {"embedding": np.full((6, 2), 1 / 3)})
    path = tmp_path / "golden.json"
    whole = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(whole | changed if isinstance(changed, dict) else changed), "utf-8")
    with pytest.raises(ModelBuildError, match=r"golden\.json.*models build"):
        read_golden(tmp_path, describe())
