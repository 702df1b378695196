"""``embedder run`` in a real terminal: progress from the first second, and Ctrl-C in every phase."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import BIN, animals_and_tools_in, environment, instance_of
from tests.support.processes import eventually, processes_of
from tests.support.terminal import CTRL_C, Terminal

# What the terminal shows when a phase has begun.
PHASES = {
    "modules load": "starting",
    "documents": "documents animals",
    "Triton starts": "dense_embeddings animals",
    "dense": "dense   animals",
    "rerank": "reranked_candidates animals",
    "exports": "exports animals",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a home for all tests: each run goes on where the one before was interrupted."""
    folder = tmp_path_factory.mktemp("terminal")
    animals_and_tools_in(folder / "corpus")
    return folder


def run_in_terminal(folder: Path) -> Terminal:
    variables = environment(folder / "home", EMBEDDER_CORPUS_DIR=str(folder / "corpus"), TERM="xterm", COLUMNS="100")
    return Terminal([str(BIN / "embedder"), "run"], variables, folder)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_ends_with_a_sentence(phase: str, folder: Path) -> None:
    with run_in_terminal(folder) as run:
        assert run.until(PHASES[phase]), run.shown
        run.type(CTRL_C)
        status = run.end()
    assert status == 130, run.shown
    (sentence,) = run.shown.split("^C")[1].split("Interrupted.")[1:]
    assert sentence.strip() in ("", "What was computed is kept, and the next run goes on from there.")
    assert "Traceback" not in run.shown and "rror" not in run.shown, run.shown
    assert eventually(lambda: processes_of(str(folder / "home")) == [])


def test_next_run_goes_on_and_shows_its_progress(folder: Path) -> None:
    with run_in_terminal(folder) as run:
        assert run.until("starting", 10)
        assert run.until("dense   animals"), run.shown
        # The bar is there before what follows it has begun: in a last burst they would come together.
        assert "exports" not in run.shown
        assert run.until("exports animals"), run.shown
        assert "Metrics emission summary" not in run.shown
        assert run.end() == 0
    assert "Metrics emission summary" in run.shown
    assert eventually(lambda: processes_of(str(folder / "home")) == [])
    with instance_of(folder / "home") as instance:
        statuses = [run.status.value for run in instance.get_runs()]
    assert statuses[0] == "SUCCESS" and set(statuses[1:]) == {"FAILURE"}
