"""Whether sensors and schedules are on by themselves, and how often they look: ``EMBEDDER_AUTOMATION``."""

from __future__ import annotations

import dagster as dg

from embedder_assets.errors import SettingsError
from embedder_assets.settings import Settings, load_settings


def _settings() -> Settings:
    """The settings; the defaults where they cannot be read, since the location has to load and the run will say so."""
    try:
        return load_settings()
    except SettingsError:
        return load_settings(environ={})


_AT_LOAD = _settings()
INTERVAL_S = _AT_LOAD.sensor_interval_s
SENSORS = dg.DefaultSensorStatus.RUNNING if _AT_LOAD.automation else dg.DefaultSensorStatus.STOPPED
SCHEDULES = dg.DefaultScheduleStatus.RUNNING if _AT_LOAD.automation else dg.DefaultScheduleStatus.STOPPED
