"""Whether sensors and schedules are on by themselves, and how often they look: ``EMBEDDER_AUTOMATION``."""

from __future__ import annotations

import dagster as dg

from embedder_assets.settings import settings_at_load

_AT_LOAD = settings_at_load()
INTERVAL_S = _AT_LOAD.sensor_interval_s
SENSORS = dg.DefaultSensorStatus.RUNNING if _AT_LOAD.automation else dg.DefaultSensorStatus.STOPPED
SCHEDULES = dg.DefaultScheduleStatus.RUNNING if _AT_LOAD.automation else dg.DefaultScheduleStatus.STOPPED
