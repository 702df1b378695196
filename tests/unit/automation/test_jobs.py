import pytest

from embedder_assets.automation.jobs import sensor_interval_s


@pytest.mark.parametrize(
    ("settle_s", "interval_s"), [(0, 30), (0.5, 1), (3.9, 3), (30.0, 30), (600, 30), (float("inf"), 30)]
)
def test_sensors_look_as_often_as_files_settle(settle_s: float, interval_s: int) -> None:
    assert sensor_interval_s(settle_s) == interval_s
