"""``embedder models tune``: with how many worker threads a model is fastest on this machine, measured in its Triton.

One thread per core is the default, and right where the cores are the model's alone. Where other processes use them, or
where two cores are hyper-threads of one, fewer may be faster. The answers are the same with any number, so the choice
is no part of a model's fingerprint.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.grpc import Row
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.cpu import cores
from embedder_assets.serving.models.build import require_built
from embedder_assets.serving.models.description import DESCRIPTION_FILE, Stage, load_description, render_config
from embedder_assets.serving.models.golden import PASSAGES, QUESTION
from embedder_assets.settings import Device, Settings

ROUNDS = 3
# Below this gain over what is configured, the next measurement may say otherwise.
GAIN = 1.05
WORDS_PER_TEXT = (20, 60, 120, 180)


@dataclass(frozen=True)
class TuneResult:
    """What was measured of one model.

    Attributes:
        name: Name of the model.
        configured: Worker threads that it is configured with, one per core by default.
        rates: Worker threads to texts per second, the median of the rounds.
        best: The number that is the fastest by enough to be worth a change, else the configured one.
    """

    name: str
    configured: int
    rates: dict[int, float]
    best: int


def tune_model(settings: Settings, name: str, seconds: float, report: Callable[[str], None]) -> TuneResult:
    """Measures a model with several numbers of worker threads, alternately, each in a Triton of its own.

    Args:
        settings: The resolved settings.
        name: A built model.
        seconds: How long a number is measured in each round.
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
    available = cores()
    configured = load_description(settings.model_repository / name).threads or available
    measured: dict[int, list[float]] = defaultdict(list)
    numbers = sorted({*(2**power for power in range(available.bit_length())), available, configured})
    for round_ in range(1, ROUNDS + 1):
        for threads in numbers:
            rate = _texts_per_second(settings, name, threads, seconds)
            report(f"{name}: round {round_} of {ROUNDS}, {threads} worker threads: {rate:.1f} texts/s")
            measured[threads].append(rate)
    return TuneResult(
        name, configured, {k: statistics.median(rates) for k, rates in measured.items()}, _best(measured, configured)
    )


def write_threads(repository: Path, name: str, threads: int, device: Device) -> None:
    """Puts the number of worker threads into a model's description and configuration; nothing is built anew."""
    import tomlkit

    folder = repository / name
    path = folder / DESCRIPTION_FILE
    document = tomlkit.parse(path.read_text("utf-8"))
    document["threads"] = threads
    path.write_text(tomlkit.dumps(document), "utf-8")
    (folder / "config.pbtxt").write_text(render_config(load_description(folder), device), "utf-8")


def _best(measured: dict[int, list[float]], configured: int) -> int:
    """The fastest number, if it is faster than the configured one in each round and by enough in the median."""
    fastest = max(measured, key=lambda threads: statistics.median(measured[threads]))
    pairs = list(zip(measured[fastest], measured[configured], strict=True))
    gain = statistics.median(mine / earlier for mine, earlier in pairs)
    return fastest if gain >= GAIN and all(mine > earlier for mine, earlier in pairs) else configured


def _texts_per_second(settings: Settings, name: str, threads: int, seconds: float) -> float:
    """The rate of a Triton that is started for it, loaded and warm."""
    with tempfile.TemporaryDirectory() as scratch:
        repository, home = Path(scratch) / "models", Path(scratch) / "home"
        shutil.copytree(settings.model_repository / name, repository / name)
        write_threads(repository, name, threads, settings.device)
        session = TritonSession(settings.model_copy(update={"model_repository": repository, "home": home}))
        try:
            rows = list(islice(cycle(_rows(load_description(repository / name).stage)), settings.request_batch_size))
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
