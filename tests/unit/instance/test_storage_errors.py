"""Errors of Dagster's storage, in our words."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from embedder_assets.errors import SettingsError, StackError
from embedder_assets.instance.storage_errors import translate_storage_errors
from embedder_assets.run import dagster_instance
from embedder_assets.settings import load_settings

POSTGRES = "storage:\n  postgres:\n    postgres_url: postgresql+{driver}://nobody@127.0.0.1:9/none\n"


def opened(folder: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said when an instance with a configuration is opened."""
    (folder / "dagster.yaml").write_text(config, "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with pytest.raises(StackError) as said, dagster_instance(load_settings({"home": (folder, "test")}, environ={})):
        raise AssertionError("it opened")
    return str(said.value)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (POSTGRES.format(driver="not_there"), "not_there"),
        (POSTGRES.replace("postgres_url", "postgres_uri"), "postgres_uri"),
        ("storage:\n  custom: {module: not_there, class: Storage, config: {}}\n", "not_there"),
        (POSTGRES.replace("postgresql+{driver}://nobody@127.0.0.1:9/none", "{env: NOWHERE}"), "NOWHERE"),
    ],
)
def test_unopenable_storage_is_reported_with_its_file(
    config: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = opened(tmp_path, config, monkeypatch)
    assert said.startswith(f"Dagster's storage as {tmp_path / 'dagster.yaml'} names it: expected to open, got ")
    assert word in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "config",
    [
        "{postgres_db: {hostname: h, username: u, db_name: d, password: {env: PG_NOWHERE}}}",
        "{postgres_db: {hostname: h, username: u, db_name: d, password: [S3cr3tW0rd]}}",
        "{postgres_db: {hostname: h, username: u, db_nam: d, password: S3cr3tW0rd}}",
        "{postgres_url: 'postgresql:/u:S3cr3tW0rd@h/d'}",
        "{postgres_url: 'postgresql+nowhere://u:S3cr3tW0rd@h/d'}",
        "{postgres_url: [S3cr3tW0rd]}",
    ],
)
def test_no_configuration_object_and_no_password_is_shown(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = opened(tmp_path, f"storage: {{postgres: {config}}}", monkeypatch)
    assert not [word for word in ("S3cr3tW0rd", "dagster._config", "object at 0x", "Stack Trace") if word in said]
    assert len(said) < 500


def test_wrapped_database_error_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="got the disk is full") as said, translate_storage_errors(tmp_path):
        try:
            raise OperationalError("INSERT", {}, Exception("the disk\nis full"))
        except OperationalError as error:
            raise RuntimeError("too many retries") from error
    assert said.value.__cause__ is not None


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (ZeroDivisionError("a bug"), SettingsError("a", expected="b", got="c", remedy="d")):
        with pytest.raises(type(error)) as said, translate_storage_errors(tmp_path):
            raise error
        assert said.value is error
