"""``embedder doctor``: what is installed, reachable and missing, with the remedy for each."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from embedder_assets.cli.display import BYTES_PER_MIB
from embedder_assets.cli.doctor_storage import Diagnosis, dagster_database, full_disks
from embedder_assets.corpus.collections import discover_collections, refused_names
from embedder_assets.environment import dagster_home, unknown_variables
from embedder_assets.errors import EmbedderError, SettingsError
from embedder_assets.permissions import group_of, is_open_to_others, open_to_others, require_protected
from embedder_assets.serving.models.build import ModelState, inspect_models
from embedder_assets.serving.models.configured import configured_models, unusable_models
from embedder_assets.serving.models.precision import choose, cpu_flags, has_openvino
from embedder_assets.serving.server.access import ClientAccess, ServerAccess
from embedder_assets.serving.server.embedded import find_running
from embedder_assets.settings import Settings, as_sentence
from embedder_assets.tables.object_store import check_bucket_access
from embedder_assets.tables.store import TableStore

SHM_NEEDED_MIB = 64


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Looks at everything that a run needs; starts nothing and changes nothing."""
    looks = (
        _python,
        _triton,
        _access,
        _models,
        _corpus,
        _home,
        _rights,
        _buckets,
        _shared_memory,
        _ports,
        _variables,
        _extras,
    )
    for look in looks:
        yield from look(settings)
    yield from full_disks(settings)
    yield from dagster_database(settings)


def _python(_: Settings) -> Iterator[Diagnosis]:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    remedy = "" if supported else "Use Python 3.11 or 3.12 (`make run PYTHON=python3.11`)."
    yield Diagnosis("ok" if supported else "problem", "Python", version, remedy)


def _triton(settings: Settings) -> Iterator[Diagnosis]:
    if settings.triton_url:
        yield from _triton_of_others(settings.triton_url)
        return
    running = find_running(settings.home / "triton")
    if running is not None:
        yield Diagnosis("ok", "Triton", f"`embedder serve` runs at {running.grpc}")
    if importlib.util.find_spec("pytriton") is None:
        compose = "COMPOSE_PROFILES=cpu docker compose up triton"
        remedy = f"Start Triton with `{compose}` and set EMBEDDER_TRITON_URL=127.0.0.1:8001."
        yield Diagnosis("problem", "embedded Triton", f"no wheel for {platform.system()} {platform.machine()}", remedy)
        return
    library = Path(sysconfig.get_config_var("LIBDIR") or "") / str(sysconfig.get_config_var("INSTSONAME"))
    if library.exists():
        yield Diagnosis("ok", "embedded Triton", "installed")
    else:
        remedy = "Use a Python with a shared library (Debian: apt-get install libpython3.11), or EMBEDDER_TRITON_URL."
        yield Diagnosis("problem", "embedded Triton", f"its Python backend needs {library}, which is missing", remedy)


def _triton_of_others(endpoints: Sequence[str]) -> Iterator[Diagnosis]:
    """One finding a server; of several, one is enough for a run."""
    answering = {endpoint: _connects(*_host_and_port(endpoint)) for endpoint in endpoints}
    missing: Literal["note", "problem"] = "note" if any(answering.values()) else "problem"
    for endpoint, answers in answering.items():
        remedy = "" if answers else "Start that server, or unset EMBEDDER_TRITON_URL to use the embedded one."
        found = f"{endpoint} {'answers' if answers else 'does not answer'}"
        yield Diagnosis("ok" if answers else missing, "Triton", found, remedy)


def _host_and_port(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


def _access(settings: Settings) -> Iterator[Diagnosis]:
    """Certificates and the secret, where the settings name some."""
    for thing, read in (("Triton client", ClientAccess.of), ("embedder serve", ServerAccess.of)):
        try:
            read(settings)
        except SettingsError as error:
            yield Diagnosis("problem", thing, f"{error.thing}: {error.got}", error.remedy)


def _models(settings: Settings) -> Iterator[Diagnosis]:
    """Those in use have to be whole; of others a run takes no notice."""
    used = configured_models(settings)
    for error in unusable_models(settings):
        yield Diagnosis("problem", error.thing, f"{error.got}; expected {error.expected}", error.remedy)
    try:
        for state in inspect_models(settings.model_repository, device=settings.device):
            name = f"model {state.name}"
            if state.problem is None:
                yield Diagnosis(
                    "ok", name, f"{state.size_bytes / BYTES_PER_MIB:.1f} MiB, {state.precision}, {state.fingerprint}"
                )
                yield from _faster_precision(settings, state)
            elif state.name in used:
                yield Diagnosis("problem", name, state.problem, "Run `embedder models build`.")
            else:
                remedy = f"No setting names it: build it, or `embedder models remove {state.name}`."
                yield Diagnosis("note", name, state.problem, remedy)
    except EmbedderError as error:
        yield Diagnosis("problem", "models", error.got, error.remedy)


def _faster_precision(settings: Settings, state: ModelState) -> Iterator[Diagnosis]:
    """A model whose build left a faster precision of this CPU aside."""
    model = state.description
    if model is None or not model.awaits_choice or settings.device != "cpu" or state.precision != "int8":
        return
    here = choose(model.stage, cpu_flags(), openvino=has_openvino(), shared_tables=settings.tables_url is not None)
    if here.precision != "int8":
        remedy = f"`embedder models tune {state.name} --write` measures it."
        yield Diagnosis(
            "note", f"model {state.name}", "built in int8; bf16 is faster on this CPU, which has AMX", remedy
        )
    elif here.reason:
        yield Diagnosis("note", f"model {state.name}", f"built in int8: {here.reason}")


def _corpus(settings: Settings) -> Iterator[Diagnosis]:
    if settings.corpus_url and not settings.corpus_dir.exists():
        return  # the first run fetches it
    try:
        names = [collection.name for collection in discover_collections(settings.corpus_dir)]
        yield Diagnosis("ok", "corpus", f"{settings.corpus_dir}: {', '.join(names)}")
        for refused in refused_names(settings.corpus_dir):
            yield Diagnosis("problem", "corpus", f"{refused.thing}: {refused.got}", refused.remedy)
    except EmbedderError as error:
        yield Diagnosis("problem", "corpus", f"{settings.corpus_dir}: {error.got}", error.remedy)


def _home(settings: Settings) -> Iterator[Diagnosis]:
    nearest = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    writable = os.access(nearest, os.W_OK)
    free_gb = shutil.disk_usage(nearest).free / 2**30
    remedy = "" if writable else "Make it writable, or set EMBEDDER_HOME to a folder that is."
    found = f"{settings.home}, {free_gb:.0f} GiB free{'' if writable else ', not writable'}"
    yield Diagnosis("ok" if writable else "problem", "home", found, remedy)


def _rights(settings: Settings) -> Iterator[Diagnosis]:
    """Who else may read the state and write the models."""
    if open_folders := open_to_others(settings.home):
        names = ", ".join(folder.name for folder in open_folders)
        remedy = f"`chmod -R go-rwx {settings.home}`; the next run of their owner does so too (docs/security.md)."
        yield Diagnosis("note", "home", f"other users of this machine can look into {names}", remedy)
    events = dagster_home(settings)
    if events.parent != settings.home and group_of(events) is None and is_open_to_others(events):
        remedy = f"It holds previews of texts: `chmod go-rwx {events}`, or give it the setgid bit to share it."
        yield Diagnosis("note", "DAGSTER_HOME", f"other users of this machine can look into {events}", remedy)
    try:
        require_protected(settings.model_repository, "model_repository")
    except SettingsError as error:
        yield Diagnosis("problem", "models", f"{error.thing}: {error.got}", error.remedy)


def _buckets(settings: Settings) -> Iterator[Diagnosis]:
    """The object store, where something is in one."""
    places: dict[str, tuple[str | None, Callable[[], None]]] = {
        "tables": (settings.tables_url, TableStore.of(settings).check_access),
        "exports": (settings.exports_url, lambda: check_bucket_access("the exports", str(settings.exports_url))),
        "corpus": (settings.corpus_url, lambda: check_bucket_access("the corpus", str(settings.corpus_url))),
    }
    for thing, (url, reach) in places.items():
        if url is None:
            continue
        try:
            reach()
            yield Diagnosis("ok", thing, f"{url} answers")
        except EmbedderError as error:
            yield Diagnosis("problem", thing, f"{url}: {error.got}", error.remedy)


def _shared_memory(settings: Settings) -> Iterator[Diagnosis]:
    if settings.triton_url or not Path("/dev/shm").exists():
        return
    free_mib = shutil.disk_usage("/dev/shm").free // BYTES_PER_MIB
    enough = free_mib >= SHM_NEEDED_MIB
    remedy = "" if enough else "Give the container more shared memory (docker run --shm-size=1g)."
    yield Diagnosis("ok" if enough else "problem", "/dev/shm", f"{free_mib} MiB free", remedy)


def _ports(settings: Settings) -> Iterator[Diagnosis]:
    used = {"metrics port": (settings.metrics_port, "an exporter"), "UI port": (settings.webserver_port, "`make up`")}
    for thing, (port, likely) in used.items():
        taken = _connects("127.0.0.1", port)
        found = f"127.0.0.1:{port} {f'is in use ({likely}, perhaps)' if taken else 'is free'}"
        yield Diagnosis("note" if taken else "ok", thing, found)


def _variables(_: Settings) -> Iterator[Diagnosis]:
    for name, remedy in unknown_variables(os.environ).items():
        yield Diagnosis("note", "environment", f"{name} is no setting", as_sentence(remedy))


def _extras(settings: Settings) -> Iterator[Diagnosis]:
    has: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None  # noqa: E731
    torch = "installed" if has("torch") else "not installed; training and other architectures than BERT need it"
    yield Diagnosis("ok", "torch (optional)", torch)
    gpu = Path("/dev/nvidia0").exists()
    missing = settings.device == "gpu" and not gpu and not settings.triton_url
    found = f"{'found' if gpu else 'none'}; EMBEDDER_DEVICE is {settings.device}"
    remedy = "Set EMBEDDER_DEVICE=cpu, then `embedder models build`." if missing else ""
    yield Diagnosis("problem" if missing else "ok", "GPU (optional)", found, remedy)


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True
