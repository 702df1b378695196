"""What `embedder up` refuses before it starts anything, and what it warns of."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from embedder_assets.cli.doctor import examine
from embedder_assets.cli.stack import run_stack
from embedder_assets.errors import CorpusError, StackError, TritonUnavailableError
from embedder_assets.serving.client.retrying import RetryingClient
from embedder_assets.serving.server.supervisor_lock import hold, supervisor_lock
from embedder_assets.settings import PROJECT_ROOT
from tests.support.factories import make_settings
from tests.support.processes import free_ports


@pytest.fixture(autouse=True)
def default_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack sets the variable for its parts; afterwards it is as before."""
    monkeypatch.setenv("DAGSTER_HOME", "")


@pytest.mark.parametrize(
    ("part", "setting", "variable"),
    [("webserver", "webserver_port", "EMBEDDER_WEBSERVER_PORT"), ("exporter", "metrics_port", "EMBEDDER_METRICS_PORT")],
)
def test_port_in_use_names_its_setting(part: str, setting: str, variable: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = make_settings(tmp_path / "home", **free() | {setting: port})
        with pytest.raises(StackError, match=rf"port {port} of the {part}.*{variable}"):
            run_stack(settings, print)
    assert not (tmp_path / "home").exists()


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    ports = {"metrics_port": 9999, "webserver_port": 9999}
    with pytest.raises(StackError, match=r"EMBEDDER_METRICS_PORT and EMBEDDER_WEBSERVER_PORT: .* got 9999 for both"):
        run_stack(make_settings(tmp_path / "home", **ports), print)
    assert not (tmp_path / "home").exists()


def test_second_stack_is_refused_before_ports(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        hold(home / "locks" / "stack.lock"),
        pytest.raises(StackError, match="no other `embedder up` on this home, got one that runs already"),
    ):
        run_stack(make_settings(home, metrics_port=9999, webserver_port=9999), print)


def test_runs_wait_for_a_restarting_server(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home", triton_retry_s=0.5)
    with hold(supervisor_lock(settings.home / "triton")):
        connection = RetryingClient(settings, lambda model, client: None)
        with pytest.raises(TritonUnavailableError, match=r"the Triton of `embedder up`.*retried for"):
            connection.load("dense_minilm")
        assert [each.kind for each in connection.recoveries.take()] == ["request_retried"]
        connection.close()
    assert not list((settings.home / "triton").glob("logs/*")), "it has started a server of its own"


def test_unbuilt_model_and_missing_corpus_are_named(tmp_path: Path) -> None:
    described = tmp_path / "models" / "dense_minilm"
    described.mkdir(parents=True)
    for name in ("model.toml", "config.pbtxt"):
        shutil.copy(PROJECT_ROOT / "model_repository" / "dense_minilm" / name, described)
    folders = {"model_repository": tmp_path / "models", "corpus_dir": tmp_path / "nowhere"}
    folders |= {"enable_sparse": False, "enable_rerank": False}
    said: list[str] = []
    with pytest.raises(CorpusError, match=r"nowhere: expected an existing folder.*EMBEDDER_CORPUS_DIR"):
        run_stack(make_settings(tmp_path / "home", **folders, **free()), said.append)
    assert said == ["Warning:  model dense_minilm: model.onnx is missing. Run `embedder models build`."]


def test_the_doctor_says_whether_the_ports_are_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = make_settings(tmp_path / "home", **free() | {"webserver_port": taken.getsockname()[1]})
        levels = {finding.thing: finding.level for finding in examine(settings) if "port" in finding.thing}
    assert levels == {"metrics port": "ok", "UI port": "note"}


def free() -> dict[str, int]:
    return dict(zip(("metrics_port", "webserver_port"), free_ports(2), strict=True))
