"""What ``embedder doctor`` says of servers at a URL, and of certificates."""

import shutil
import socket
import sqlite3
import tempfile
from collections import namedtuple

import pytest

from embedder_assets.cli import doctor, doctor_storage
from embedder_assets.cli.doctor import examine
from embedder_assets.cli.doctor_storage import Diagnosis
from embedder_assets.instance.sqlite_event_log import open_instance
from embedder_assets.serving.models.build import build_models
from tests.support.checkpoints import write_checkpoint, write_description
from tests.support.factories import make_settings
from tests.support.processes import free_ports


def findings(settings, thing: str) -> list[tuple[str, str]]:
    found: list[Diagnosis] = [finding for finding in examine(settings) if finding.thing == thing]
    return [(finding.level, finding.found) for finding in found]


def test_of_several_servers_one_that_answers_is_enough(tmp_path):
    (silent,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there, gone = f"127.0.0.1:{server.getsockname()[1]}", f"127.0.0.1:{silent}"
        assert findings(make_settings(tmp_path, triton_url=f"{gone},{there}"), "Triton") == [
            ("note", f"{gone} does not answer"),
            ("ok", f"{there} answers"),
        ]
    assert findings(make_settings(tmp_path, triton_url=gone), "Triton") == [("problem", f"{gone} does not answer")]


def test_unreadable_certificate_names_its_setting(tmp_path):
    settings = make_settings(tmp_path, triton_tls_ca=tmp_path / "none", serve_tls_cert=tmp_path / "none")
    ((client, about),) = findings(settings, "Triton client")
    assert (client, "triton_tls_ca" in about) == ("problem", True)
    ((server, about),) = findings(settings, "embedder serve")
    assert (server, "serve_tls_cert" in about) == ("problem", True)
    assert findings(make_settings(tmp_path), "Triton client") == []


def test_a_removed_variable_names_its_replacement(tmp_path, monkeypatch):
    for name in ("MAX_PDF_PAGES", "TRACE_URL", "DENSE_MODEL", "ENABLE_RERANKER"):
        monkeypatch.setenv(f"EMBEDDER_{name}", "1")
    said = {each.found: each.remedy for each in examine(make_settings(tmp_path)) if each.thing == "environment"}
    assert said == {
        "EMBEDDER_MAX_PDF_PAGES is no setting": "It was removed: the limit is 20,000 pages per PDF.",
        "EMBEDDER_TRACE_URL is no setting": "It was removed: set EMBEDDER_LINKS, for example to "
        "trace=https://traces.example/trace/{trace_id}.",
        "EMBEDDER_DENSE_MODEL is no setting": "EMBEDDER_DENSE_MODELS stands in its place.",
        "EMBEDDER_ENABLE_RERANKER is no setting": "Did you mean EMBEDDER_ENABLE_RERANK?",
    }


def test_badly_named_collection_is_a_problem(tmp_path):
    for name in ("good", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    fine, problem = findings(make_settings(tmp_path, corpus_dir=tmp_path / "corpus"), "corpus")
    assert fine == ("ok", f"{tmp_path / 'corpus'}: good")
    assert problem[0] == "problem"
    assert problem[1].startswith("collection '__HIVE_DEFAULT_PARTITION__'")


DATABASE = "Dagster's database"
Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture
def dagster_home(tmp_path, monkeypatch):
    """A ``DAGSTER_HOME`` whose databases are made."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
        instance.get_dynamic_partitions("collections")
        instance.all_instigator_state()
    return folder


def found_of(settings, thing):
    return [
        found
        for found in (*doctor_storage.full_disks(settings), *doctor_storage.dagster_database(settings))
        if found.thing == thing
    ]


@pytest.mark.parametrize("full", ["home", "dagster", "models", "tmp"])
def test_full_disk_is_named_with_its_path(full, tmp_path, monkeypatch):
    for name in ("home", "dagster", "models", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(2**40, 0, 3 * 2**20 if path == tmp_path / full else 2**39)
    )
    settings = make_settings(tmp_path / "home", model_repository=tmp_path / "models")
    settings = settings.model_copy(update={"home": tmp_path / "home"})
    (found,) = doctor_storage.full_disks(settings)
    assert found.level == "problem"
    assert f"{tmp_path / full}: 3 MiB free" in found.found
    assert "Free some space" in found.remedy


def test_no_place_for_temporary_files_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda: (_ for _ in ()).throw(FileNotFoundError("none")))
    assert [(found.level, found.thing) for found in doctor_storage.full_disks(make_settings(tmp_path))] == [
        ("problem", "temporary files")
    ]


def test_missing_database_is_fine_and_not_created(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    (found,) = found_of(make_settings(tmp_path), DATABASE)
    assert (found.level, "the first run makes it" in found.found) == ("ok", True)
    assert not (tmp_path / "dagster").exists()


def test_a_database_that_answers_is_fine(dagster_home, tmp_path):
    assert [found.level for found in found_of(make_settings(tmp_path), DATABASE)] == ["ok"]


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
def test_a_database_of_another_version_is_a_problem(name, dagster_home, tmp_path):
    with sqlite3.connect(dagster_home / name) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'feedfeedfeed'")
    (found,) = found_of(make_settings(tmp_path), DATABASE)
    assert (found.level, "is feedfeedfeed" in found.found, "dagster instance migrate" in found.remedy) == (
        "problem",
        True,
        True,
    )


@pytest.mark.parametrize("name", doctor_storage.FILES)
def test_a_damaged_database_is_a_problem(name, dagster_home, tmp_path):
    (dagster_home / name).write_bytes(b"no database" * 1000)
    (found,) = found_of(make_settings(tmp_path), DATABASE)
    assert (found.level, "not a database" in found.found, "Put back a copy" in found.remedy) == ("problem", True, True)


def test_a_database_that_somebody_holds_is_a_problem(dagster_home, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_storage, "LOCKED_S", 0.1)
    holder = sqlite3.connect(dagster_home / "history" / "runs.db")
    holder.execute("BEGIN IMMEDIATE")
    (found,) = found_of(make_settings(tmp_path), DATABASE)
    holder.close()
    assert (found.level, "locked" in found.found, "End the process" in found.remedy) == ("problem", True, True)


def test_missing_database_password_is_one_sentence(dagster_home, tmp_path, monkeypatch):
    config = "storage: {postgres: {postgres_db: {hostname: h, username: u, db_name: d, password: {env: PG_NOWHERE}}}}"
    (dagster_home / "dagster.yaml").write_text(config, "utf-8")
    monkeypatch.delenv("PG_NOWHERE", raising=False)
    (found,) = found_of(make_settings(tmp_path), DATABASE)
    assert found.found.endswith("postgres_db:password names the variable PG_NOWHERE, which is not set")


@pytest.mark.parametrize(
    ("flags", "values", "said"),
    [
        ({"avx512_bf16"}, {}, None),
        ({"amx_bf16"}, {}, "bf16 is faster on this CPU"),
        ({"amx_bf16"}, {"tables_url": "s3://bucket/tables"}, "EMBEDDER_TABLES_URL"),
    ],
)
def test_precision_left_aside_is_noted(tmp_path, monkeypatch, flags, values, said):
    """A build of another CPU is kept, and the doctor says that this one could do better."""
    write_description(tmp_path / "models", "mine", write_checkpoint(tmp_path / "checkpoint"))
    monkeypatch.setattr("embedder_assets.serving.models.build.cpu_flags", frozenset)
    build_models(tmp_path / "models", lambda line: None)
    monkeypatch.setattr(doctor, "cpu_flags", lambda: flags)
    monkeypatch.setattr(doctor, "_buckets", lambda settings: iter(()))
    settings = make_settings(tmp_path, model_repository=tmp_path / "models", **values)
    notes = [found for level, found in findings(settings, "model mine") if level == "note"]
    assert len(notes) == (said is not None)
    assert all(said in note for note in notes)
