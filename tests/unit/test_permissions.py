"""State is for its owner, unless its folder is shared with a group on purpose."""

import os
import stat
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from embedder_assets import permissions
from embedder_assets.cli.main import main
from embedder_assets.errors import SettingsError
from embedder_assets.permissions import open_to_others, require_protected, restrict_permissions
from embedder_assets.resources import PipelineResource


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_files_are_for_the_owner_only(tmp_path):
    home = tmp_path / "home"
    assert restrict_permissions(home) == []
    (home / "runs" / "1").mkdir(parents=True)
    (home / "runs" / "1" / "file").write_text("text")
    assert {mode(path) for path in (home, home / "runs", home / "runs" / "1")} == {0o700}
    assert mode(home / "runs" / "1" / "file") == 0o600


def test_existing_home_is_restricted_and_named_once(tmp_path):
    home = tmp_path / "home"
    for name in ("tables", "runs", "logs"):
        (home / name).mkdir(parents=True)
    (home / "corpus.index.json").write_text("{}")
    assert [each.name for each in open_to_others(home)] == ["corpus.index.json", "logs", "runs", "tables"]
    narrowed = restrict_permissions(home)
    assert set(narrowed) == {home, *home.iterdir()}
    assert {mode(each) for each in (home, home / "tables", home / "runs", home / "logs")} == {0o700}
    assert mode(home / "corpus.index.json") == 0o600
    assert restrict_permissions(home) == []
    assert open_to_others(home) == []


def test_a_folder_with_foreign_files_keeps_its_rights(tmp_path):
    (tmp_path / "tables").mkdir(mode=0o755)
    (tmp_path / "photos").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    assert restrict_permissions(tmp_path) == [tmp_path / "tables"]
    assert (mode(tmp_path), mode(tmp_path / "photos"), mode(tmp_path / "tables")) == (0o755, 0o755, 0o700)


def test_others_cannot_add_files_to_a_writable_home(tmp_path):
    (tmp_path / "dagster").mkdir(mode=0o700)
    (tmp_path / "photos").mkdir(mode=0o755)
    tmp_path.chmod(0o777)
    assert restrict_permissions(tmp_path) == [tmp_path]
    assert mode(tmp_path) == 0o775
    tmp_path.chmod(0o1777)  # nobody replaces what is another's
    assert restrict_permissions(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["embedder.toml", ".embedder"])
def test_other_users_files_in_shared_folders_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDDER_HOME", ".embedder")
    (tmp_path / "embedder.toml").write_text("enable_rerank = false\n")
    (tmp_path / ".embedder").mkdir(mode=0o700)
    tmp_path.chmod(0o1777)
    assert CliRunner().invoke(main, ["baseline", "show"]).exit_code == 0
    os.chown(tmp_path / name, 65534, 65534)
    (tmp_path / name).chmod(0o2755)
    shown = CliRunner().invoke(main, ["baseline", "show"])
    assert shown.exit_code == 1
    assert "another user has put into a folder that every user may write" in shown.stderr
    tmp_path.chmod(0o755)  # whoever may write here may be trusted
    assert CliRunner().invoke(main, ["baseline", "show"]).exit_code == 0


def test_doctor_examines_links_and_dagster_home(tmp_path, monkeypatch):
    home, disk, events = tmp_path / "home", tmp_path / "disk", tmp_path / "events"
    for folder in (home, disk, events):
        folder.mkdir(mode=0o700)
    (home / "tables").symlink_to(disk)
    monkeypatch.setenv("EMBEDDER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(events))
    said = "other users of this machine can look into"
    assert said not in CliRunner().invoke(main, ["doctor"]).output
    disk.chmod(0o755)
    events.chmod(0o755)
    assert [each.name for each in open_to_others(home)] == ["tables"]
    assert CliRunner().invoke(main, ["doctor"]).output.count(said) == 2


def test_setgid_home_is_shared_keeping_umask(tmp_path):
    home = tmp_path / "home"
    (home / "tables").mkdir(parents=True)
    home.chmod(0o2770)
    os.umask(0o007)
    assert restrict_permissions(home) == []
    (home / "file").write_text("")
    assert (mode(home), mode(home / "tables"), mode(home / "file")) == (0o2770, 0o755, 0o660)
    assert open_to_others(home) == []


def test_links_in_home_change_nothing_elsewhere(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "exports").symlink_to(elsewhere)
    assert restrict_permissions(home) == []
    assert mode(elsewhere) == 0o755


@pytest.mark.parametrize("wide", ["models", "models/m", "models/m/config.pbtxt", "."])
def test_models_that_every_user_may_write_are_refused(tmp_path, wide):
    model = tmp_path / "models" / "m"
    model.mkdir(parents=True)
    (model / "config.pbtxt").write_text("")
    require_protected(tmp_path / "models", "model_repository")
    path = tmp_path / wide
    path.chmod(path.stat().st_mode | stat.S_IWOTH)
    with pytest.raises(SettingsError, match=r"'model_repository'.*chmod"):
        require_protected(tmp_path / "models", "model_repository")
    if path.is_dir() and wide == ".":
        path.chmod(path.stat().st_mode | stat.S_ISVTX)
        require_protected(tmp_path / "models", "model_repository")


def test_commands_restrict_home_doctor_only_reports(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "tables").mkdir(parents=True)
    monkeypatch.setenv("EMBEDDER_HOME", str(home))
    looked = CliRunner().invoke(main, ["doctor"])
    assert "other users of this machine can look into tables" in looked.output.replace("\n", " ")
    assert mode(home) == 0o755
    shown = CliRunner().invoke(main, ["baseline", "show"])
    assert f"{home}: other users could look into it" in shown.stderr
    assert mode(home) == mode(home / "tables") == 0o700
    assert CliRunner().invoke(main, ["baseline", "show"]).stderr == ""


def test_runs_launched_by_dagster_are_private(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path / "home"))
    pipeline = PipelineResource().create_resource(dg.build_init_resource_context())
    pipeline.close()
    (tmp_path / "home" / "tables").mkdir(parents=True)
    assert mode(tmp_path / "home") == 0o700


def test_models_are_written_by_the_users_own_umask(tmp_path, monkeypatch):
    monkeypatch.setattr(permissions, "_given", [])
    restrict_permissions(tmp_path / "home")
    restrict_permissions(tmp_path / "home")
    with permissions.users_umask():
        (tmp_path / "model.onnx").write_text("")
    (tmp_path / "table").write_text("")
    assert (mode(tmp_path / "model.onnx"), mode(tmp_path / "table")) == (0o644, 0o600)
