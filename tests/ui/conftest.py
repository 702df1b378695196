"""The stack as a person starts it, and a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from embedder_assets.serving.models.build import build_models
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import BIN, environment, instance_of, write
from tests.support.processes import eventually, free_ports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = Path(os.environ.get("ARTIFACTS") or PROJECT / ".embedder") / "ui-screenshots"
COLLECTION = "animals"
JUDGED = "judged"
FOREIGN = "http://foreign.test"
FETCHING = f"![words]({FOREIGN}) &lt;img src={FOREIGN}&gt; &lt;iframe src={FOREIGN}&gt; [link]({FOREIGN})"
READY = "Ctrl-C ends all of it."
# What the UI shows is behind polls of some seconds, on a machine that computes at the same time.
PATIENCE_MS = 60_000


@dataclass
class Stack:
    """A running ``embedder up``."""

    home: Path
    url: str
    metrics: str
    process: subprocess.Popen[bytes]
    seconds_to_ready: float

    def interrupt(self) -> int:
        """What Ctrl-C does; gives the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@dataclass(frozen=True)
class Launched:
    """A run that was started by clicking."""

    run_id: str
    url: str


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    build_models(load_settings(environ={}).model_repository)
    root = tmp_path_factory.mktemp("ui")
    for name in ("cat", "owl", "whale"):
        write(root / "corpus" / COLLECTION / f"{name}.md", f"# The {name}\n\nThe {name} is an animal.\n")
    write(root / "corpus" / JUDGED / "fox.md", "# The fox\n\nThe fox hunts at night.\n")
    # Its title and its name would make a browser fetch something, were they taken for Markdown or HTML.
    write(
        root / "corpus" / COLLECTION / "![x](foreign.test).html",
        f"<title>![]({FOREIGN}/title)</title><p>{FETCHING}</p>",
    )
    write(root / "corpus" / COLLECTION / "![y](foreign.test).pdf", "no pdf")
    metrics, webserver = free_ports(2)
    variables = environment(
        root / "home",
        EMBEDDER_CORPUS_DIR=str(root / "corpus"),
        EMBEDDER_METRICS_PORT=str(metrics),
        EMBEDDER_WEBSERVER_PORT=str(webserver),
        EMBEDDER_LINKS="trace=http://traces.test/trace/{trace_id},dashboard=http://dashboard.test/d/rag",
    )
    variables.pop("DAGSTER_HOME", None)
    said = root / "up.txt"
    started = time.monotonic()
    with said.open("wb") as log:
        process = subprocess.Popen([str(BIN / "embedder"), "up"], cwd=root, env=variables, stdout=log, stderr=log)
    try:
        ready = eventually(lambda: READY in said.read_text() or process.poll() is not None, 60)
        assert ready and process.poll() is None, said.read_text()
        urls = (f"http://127.0.0.1:{port}" for port in (webserver, metrics))
        yield Stack(root / "home", *urls, process, time.monotonic() - started)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab; what it shows at the end of the test, well or not, is kept as a picture."""
    tab = new_tab(browser)
    yield tab
    keep(tab, request.node.name.removeprefix("test_"))
    tab.close()


@pytest.fixture(scope="module")
def launched(browser: Browser, stack: Stack) -> Launched:
    """The main job, launched for one collection the way a person does it."""
    tab = new_tab(browser)
    try:
        run = launch(tab, stack)
        wait_for_end(tab, stack, run)
        return run
    finally:
        keep(tab, "launched")
        tab.close()


@pytest.fixture
def judged(page: Page, stack: Stack) -> str:
    """A collection whose quality gate has failed: a baseline counts, and its judgements got lost."""
    row = {"collection": JUDGED, "ranking": "fused", "measure": "nDCG@10", "value": 1.0, "queries": 1, "sequence": 1}
    row |= {"accepted_at": datetime.now(UTC), "accepted_by": "ana", "note": "", "models": "{}"}
    row |= {"qrels_digest": "", "input_digest": ""}
    TableStore(stack.home).append("quality_baselines", pl.DataFrame([row]))
    wait_for_end(page, stack, launch(page, stack, collection=JUDGED))
    expect(page.get_by_text("Failure", exact=True)).to_be_visible()
    return JUDGED


def launch(tab: Page, stack: Stack, config: str = "", *, collection: str = COLLECTION) -> Launched:
    """Clicks through the dialog of the main job to the page of the run."""
    tab.goto(f"{stack.url}/locations/embedder_assets.definitions/jobs/rag_tables")
    tab.get_by_text("Materialize all…").first.click()
    tab.get_by_text("Select a partition or create one").click()
    tab.locator("li").filter(has_text=collection).last.click()
    tab.keyboard.press("Escape")
    dialog = tab.get_by_role("dialog").filter(has_text="Partition selection")
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    if config:
        configure(tab, config)
    keep(tab, "launch_dialog")
    dialog.get_by_role("button", name="Launch 1 run").click()
    expect(tab.get_by_text(re.compile("Launched run"))).to_be_visible()
    tab.get_by_role("button", name="View", exact=True).or_(tab.get_by_role("link", name="View", exact=True)).click()
    tab.wait_for_url("**/runs/*")
    return Launched(run_id=tab.url.split("/runs/")[1][:36], url=tab.url)


def wait_for_end(tab: Page, stack: Stack, run: Launched) -> None:
    """Waits with an empty page, which does not poll and draw next to the run, and then shows the run's."""
    tab.goto("about:blank")
    with instance_of(stack.home) as instance:
        assert eventually(lambda: instance.get_run_by_id(run.run_id).is_finished, 120)  # type: ignore[union-attr]
    tab.goto(run.url)


def configure(tab: Page, config: str) -> None:
    tab.get_by_role("dialog").get_by_text("Config", exact=True).click()
    tab.get_by_text("Add config").click()
    editor = tab.get_by_role("dialog").filter(has_text="Config Editor")
    editor.locator(".CodeMirror").first.click()
    tab.keyboard.insert_text(config)
    expect(editor.get_by_text("No errors")).to_be_visible()
    keep(tab, "config")
    editor.get_by_role("button", name="Save config").click()


def new_tab(browser: Browser) -> Page:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    return tab


def keep(tab: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=SCREENSHOTS / f"{name}.png")
