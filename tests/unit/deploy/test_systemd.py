"""The systemd units, as far as they can be checked without systemd as the machine's first process."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from embedder_assets.cli import supervise
from embedder_assets.cli.main import main
from embedder_assets.serving.server import watchdog
from embedder_assets.settings import ENV_PREFIX, FIELDS
from tests.conftest import PROJECT

FOLDER = PROJECT / "deploy" / "systemd"
UNITS = {path.parent.name: path for path in sorted(FOLDER.glob("*/*.service"))}
PAGE = (PROJECT / "docs" / "how-to" / "systemd.md").read_text("utf-8")
INSTALLED = {"system": "/opt/embedder-assets", "user": "%h/embedder-assets"}


def unit(kind: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNITS[kind].read_text("utf-8"))
    return parser


def verified(kind: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """systemd's own check of a unit, as if the project were installed where the unit says."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: apt-get install systemd)")
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    file = folder / "embedder.service"
    file.write_text(text.replace(INSTALLED[kind], str(PROJECT)), "utf-8")
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(["--user"] if kind == "user" else []), str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder / "run")},
        capture_output=True,
        text=True,
    )


def test_system_and_user_units_exist() -> None:
    assert UNITS.keys() == INSTALLED.keys()


@pytest.mark.parametrize("kind", UNITS)
def test_systemd_accepts_it(kind: str, tmp_path: Path) -> None:
    done = verified(kind, UNITS[kind].read_text("utf-8"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("mistake", ["Restart=sometimes", "ProtectSistem=strict"])
def test_systemd_s_check_finds_mistakes(mistake: str, tmp_path: Path) -> None:
    text = UNITS["system"].read_text("utf-8").replace("[Service]\n", f"[Service]\n{mistake}\n")
    assert "embedder.service:" in verified("system", text, tmp_path).stderr


@pytest.mark.parametrize("kind", UNITS)
def test_command_exists(kind: str) -> None:
    program, *words = unit(kind)["Service"]["ExecStart"].split()
    assert program == f"{INSTALLED[kind]}/.venv/bin/embedder"
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.name == "up"


@pytest.mark.parametrize("kind", UNITS)
def test_settings_and_pages_that_it_names_exist(kind: str) -> None:
    text = UNITS[kind].read_text("utf-8")
    named = re.findall(rf"\b{ENV_PREFIX}([A-Z0-9_]+)", text)
    assert {name.lower() for name in named} <= FIELDS.keys()
    pages = re.findall(r"\bdocs/[\w/.-]+\.md", text)
    assert pages and all((PROJECT / page).exists() for page in pages)


@pytest.mark.parametrize("kind", UNITS)
def test_stop_timeout_exceeds_the_stack_s_own(kind: str) -> None:
    """Each of the four parts may take the grace of its watchdog twice."""
    service = unit(kind)["Service"]
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) >= 4 * 2 * watchdog.GRACE_S
    assert int(service["TimeoutStartSec"]) >= 4 * supervise.READY_TIMEOUT_S
    assert int(service["WatchdogSec"]) >= 10


@pytest.mark.parametrize("kind", UNITS)
def test_nothing_of_it_is_for_other_users(kind: str) -> None:
    service = unit(kind)["Service"]
    assert (service["UMask"], service["NoNewPrivileges"]) == ("0077", "yes")


def test_system_unit_leaves_gpu_and_shared_memory_alone() -> None:
    service = unit("system")["Service"]
    hidden = {"PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow", "PrivateIPC", "MemoryDenyWriteExecute"}
    assert hidden & service.keys() == set()
    assert service["ProtectSystem"] == "strict"
    assert "EMBEDDER_HOME=/var/lib/embedder" in service["Environment"] and service["StateDirectory"] == "embedder"


def test_page_names_all_paths_of_the_units() -> None:
    assert f"useradd --system {unit('system')['Service']['User']} " in PAGE
    for kind, path in UNITS.items():
        assert path.relative_to(PROJECT).as_posix() in PAGE
        assert unit(kind)["Service"]["WorkingDirectory"].replace("%h", "~") in PAGE
