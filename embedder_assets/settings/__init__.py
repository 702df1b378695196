"""Every setting: its default, its meaning, and where its value came from.

``groups`` has the settings themselves, ``types`` what their values may be, ``load`` resolves them from all layers, and
``retired`` says what stands in the place of a name that is gone. What a setting does belongs to the code that uses it;
a limit that nobody would change is a constant there. docs/settings.md is generated from this package.
"""

from embedder_assets.settings.groups import (
    ENV_PREFIX,
    FIELDS,
    GROUP_OF,
    GROUPS,
    PROJECT_ROOT,
    Settings,
    key_of,
    variable_of,
)
from embedder_assets.settings.load import SETTINGS_FILE, load_settings, settings_at_load
from embedder_assets.settings.retired import REMOVED, RENAMED, as_sentence
from embedder_assets.settings.types import Device, LeasePolicy

__all__ = [
    "ENV_PREFIX",
    "FIELDS",
    "GROUPS",
    "GROUP_OF",
    "PROJECT_ROOT",
    "REMOVED",
    "RENAMED",
    "SETTINGS_FILE",
    "Device",
    "LeasePolicy",
    "Settings",
    "as_sentence",
    "key_of",
    "load_settings",
    "settings_at_load",
    "variable_of",
]
