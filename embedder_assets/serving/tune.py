"""``embedder models tune``: what makes a model fastest on this machine, measured in its Triton: precision and threads.

One thread per core is the default, and right where the cores are the model's alone. Where other processes use them, or
where two cores are hyper-threads of one, fewer may be faster; the answers are the same with any number. int8 is the
default precision, bf16 where ``models/precision.py`` knows that it is faster; it decides the answers, so a change of it
computes all vectors anew.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.grpc import Row
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.cpu import cores
from embedder_assets.serving.models.build import build_beside, require_built
from embedder_assets.serving.models.description import (
    DESCRIPTION_FILE,
    ModelDescription,
    Precision,
    Stage,
    load_description,
)
from embedder_assets.serving.models.golden import PASSAGES, QUESTION
from embedder_assets.serving.models.precision import has_openvino
from embedder_assets.serving.models.triton_config import render_config
from embedder_assets.settings import Device, Settings

ROUNDS = 3
# Below this gain over what is configured, the next measurement may say otherwise.
GAIN = 1.05
WORDS_PER_TEXT = (20, 60, 120, 180)


class Tuning(NamedTuple):
    """What may be changed of a model to make it faster."""

    precision: Precision
    threads: int

    def __str__(self) -> str:
        return f"{self.precision} with {self.threads} worker thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class TuneResult:
    """What was measured of one model.

    Attributes:
        name: Name of the model.
        configured: What it is configured with, by default one thread per core.
        rates: Texts per second, the median of the rounds.
        best: What is the fastest by enough to be worth a change, else what is configured.
    """

    name: str
    configured: Tuning
    rates: dict[Tuning, float]
    best: Tuning


def tune_model(settings: Settings, name: str, seconds: float, report: Callable[[str], None]) -> TuneResult:
    """Measures a model in both precisions with several numbers of threads, alternately, each in a Triton of its own.

    Args:
        settings: The resolved settings.
        name: A built model.
        seconds: How long each is measured in each round.
        report: Receives one line per measurement, for people.

    Raises:
        ModelBuildError: The model is unknown or not built, or the server is one of others.
    """
    if settings.triton_url:
        raise ModelBuildError(
            "the measurement",
            expected="the embedded Triton, which it starts with other numbers of threads",
            got=f"EMBEDDER_TRITON_URL={','.join(settings.triton_url)}",
            remedy="Run it without that variable, on the machine of that server.",
        )
    require_built(settings.model_repository, name, settings.device)
    description = load_description(settings.model_repository / name)
    configured = Tuning(description.precision_on(settings.device), description.threads or cores())
    numbers = sorted({*(2**power for power in range(cores().bit_length())), cores(), configured.threads})
    measured: dict[Tuning, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        repositories = dict(_repositories(settings, description, Path(scratch), report))
        for round_ in range(1, ROUNDS + 1):
            for tuning in (Tuning(precision, threads) for threads in numbers for precision in repositories):
                rate = _texts_per_second(settings, repositories[tuning.precision], name, tuning.threads, seconds)
                report(f"{name}: round {round_} of {ROUNDS}, {tuning}: {rate:.1f} texts/s")
                measured[tuning].append(rate)
    rates = {tuning: statistics.median(each) for tuning, each in measured.items()}
    return TuneResult(name, configured, rates, _best(measured, configured))


def write_tuning(folder: Path, tuning: Tuning, device: Device) -> None:
    """Puts precision and number of threads into a model's description, where they differ; nothing is built anew."""
    import tomlkit

    path = folder / DESCRIPTION_FILE
    document = tomlkit.parse(path.read_text("utf-8"))
    described = load_description(folder)
    if described.threads != tuning.threads:
        document["threads"] = tuning.threads
    if described.precision_on(device) != tuning.precision:
        table = document.setdefault("precision", tomlkit.inline_table())
        table["cpu"] = tuning.precision
    path.write_text(tomlkit.dumps(document), "utf-8")
    changed = load_description(folder)
    if changed.fingerprint(device) == described.fingerprint(device):
        (folder / "config.pbtxt").write_text(render_config(changed, device), "utf-8")


def _repositories(
    settings: Settings, description: ModelDescription, scratch: Path, report: Callable[[str], None]
) -> Iterator[tuple[Precision, Path]]:
    """A repository for each precision that is measured: of a model that is exact on purpose, or shipped, its own."""
    own = description.precision_on(settings.device)
    yield own, repository_in(settings, description, own, scratch / own)
    others: dict[Precision, Precision] = {"int8": "bf16", "bf16": "int8"}
    if description.source.kind == "shipped" or settings.device != "cpu" or own not in others:
        return
    other = others[own]
    if other == "bf16" and not has_openvino():
        report(f"{description.name}: bf16 is not measured, because OpenVINO is not installed: `pip install openvino`")
        return
    try:
        yield other, repository_in(settings, description, other, scratch / other)
    except ModelBuildError as error:
        report(f"{description.name}: {other} is not measured: {error}")


def repository_in(settings: Settings, description: ModelDescription, precision: Precision, repository: Path) -> Path:
    """Makes a model repository with a copy of one model that may be changed, built in a precision.

    Raises:
        ModelBuildError: The model cannot be built, for example because its weights cannot be fetched.
    """
    folder, copy = settings.model_repository / description.name, repository / description.name
    shutil.copytree(folder, copy)
    if precision != description.precision_on(settings.device):
        write_tuning(copy, Tuning(precision, description.threads), settings.device)
        build_beside(load_description(copy), folder, copy, settings.device)
    return repository


def _best(measured: dict[Tuning, list[float]], configured: Tuning) -> Tuning:
    """The fastest, if it is faster than what is configured in each round and by enough in the median."""
    fastest = max(measured, key=lambda tuning: statistics.median(measured[tuning]))
    pairs = list(zip(measured[fastest], measured[configured], strict=True))
    gain = statistics.median(mine / earlier for mine, earlier in pairs)
    return fastest if gain >= GAIN and all(mine > earlier for mine, earlier in pairs) else configured


def _texts_per_second(settings: Settings, repository: Path, name: str, threads: int, seconds: float) -> float:
    """The rate of a Triton that is started for it, loaded and warm."""
    description = load_description(repository / name)
    write_tuning(repository / name, Tuning(description.precision_on(settings.device), threads), settings.device)
    with tempfile.TemporaryDirectory() as home:
        session = TritonSession(settings.model_copy(update={"model_repository": repository, "home": Path(home)}))
        try:
            rows = list(islice(cycle(_rows(description.stage)), settings.request_batch_size))
            return _measured(session, name, rows, seconds)
        finally:
            session.close()


def _measured(session: TritonSession, name: str, rows: Sequence[Row], seconds: float) -> float:
    list(session.infer_many(name, [rows]))
    started, answered = time.perf_counter(), 0
    # Requests without an end, so that as many are in flight as in a run.
    for answer in session.infer_many(name, cycle([rows])):
        answered += answer.rows
        if time.perf_counter() - started >= seconds:
            break
    return answered / (time.perf_counter() - started)


def _rows(stage: Stage) -> list[Row]:
    """Texts of several lengths, or pairs of a question and such a text."""
    words = " ".join(PASSAGES).split()
    texts = [" ".join(islice(cycle(words), start, start + count)) for start, count in enumerate(WORDS_PER_TEXT)]
    return [(QUESTION, text) if stage == "rerank" else (text,) for text in texts]
