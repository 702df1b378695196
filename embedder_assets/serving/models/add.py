"""``embedder models add``: reads a checkpoint and writes the ``model.toml`` that describes it."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedder_assets.errors import ModelBuildError
from embedder_assets.pydantic_errors import first_field_error
from embedder_assets.serving.models.build import require_buildable
from embedder_assets.serving.models.checkpoint import Checkpoint, read_checkpoint
from embedder_assets.serving.models.configured import SETTINGS_OF
from embedder_assets.serving.models.description import DESCRIPTION_FILE, POOLINGS, ModelDescription, Pooling, Stage
from embedder_assets.serving.models.sources import download, resolve_revision, sha256_of
from embedder_assets.settings import Device, variable_of

SPARSE_PAIRS = 256
# Longer inputs cost more than they give: attention is quadratic, and a vector of a long text says little of its parts.
USUAL_MAX_TOKENS = 512
QUERY_PROMPTS = ("query", "search_query", "s2p_query")
PASSAGE_PROMPTS = ("passage", "document", "search_document", "corpus")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
HUB_PREFIX = "hf:"


@dataclass(frozen=True)
class NewModel:
    """What a user says about a new model; what is None or empty is read from the checkpoint.

    Attributes:
        origin: A folder, or an id of the Hugging Face hub, which may begin with ``hf:``.
        revision: Commit, branch or tag on the hub; the commit that it stands for now is pinned.
        dimension: Pairs of a sparse model; the other stages have what the checkpoint has.
    """

    name: str
    stage: Stage
    origin: str
    revision: str | None = None
    license: str | None = None
    pooling: Pooling | None = None
    max_tokens: int | None = None
    dimension: int | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None


@dataclass(frozen=True)
class AddedModel:
    """What came of it.

    Attributes:
        path: The ``model.toml``.
        notes: What a user should know before building, one sentence each.
        setting: The environment variable that makes runs use the model.
    """

    path: Path
    description: ModelDescription
    notes: list[str]
    setting: str


def add_model(repository: Path, new: NewModel, device: Device = "cpu") -> AddedModel:
    """Writes the ``model.toml`` of a new model, after it was built once on trial; nothing is kept of that.

    Args:
        repository: The model repository.
        new: What the user says.
        device: What the trial is built for.

    Raises:
        ModelBuildError: The name is taken, an option has no effect, or the checkpoint cannot be built as this stage.
    """
    folder = repository / new.name
    _require_allowed(folder, new)
    checkpoint, source, declared_license = _origin(folder, new)
    license_ = new.license or declared_license
    notes: list[str] = [] if license_ else ["No licence found: write it into model.toml, or use --license."]
    fields = {
        "name": new.name,
        "stage": new.stage,
        "license": license_ or "unknown",
        "pooling": new.pooling or _pooling(checkpoint, new.stage, notes),
        "max_tokens": min(checkpoint.max_tokens, USUAL_MAX_TOKENS) if new.max_tokens is None else new.max_tokens,
        "dimension": _dimension(checkpoint, new),
        **_prefixes(checkpoint, new, notes),
    }
    if new.stage == "dense":
        fields["normalize"] = True
        if checkpoint.modules and "Normalize" not in checkpoint.modules:
            notes.append("Its own vectors are not of unit length; here they are scaled to it, and ranked by cosine.")
    description = _validated(new.name, {**fields, "source": source})
    repository.mkdir(parents=True, exist_ok=True)
    require_buildable(checkpoint, description, repository, device)
    folder.mkdir()
    (folder / DESCRIPTION_FILE).write_text(_toml(fields, source, new.origin), "utf-8")
    return AddedModel(folder / DESCRIPTION_FILE, description, notes, variable_of(SETTINGS_OF[new.stage]))


def _require_allowed(folder: Path, new: NewModel) -> None:
    """Refuses a name that is taken, an option that would change nothing, and a pooling that the stage does not have."""
    if folder.exists():
        raise ModelBuildError(
            f"model '{new.name}'",
            expected="a name that is free",
            got=f"the folder {folder}",
            remedy=f"Choose another name, or remove it: `embedder models remove {new.name}`.",
        )
    if new.dimension is not None and new.stage != "sparse":
        numbers = "as many as its checkpoint" if new.stage == "dense" else "one number"
        raise ModelBuildError(
            f"--dimension {new.dimension}",
            expected="it with --stage sparse only, where it is the number of (index, value) pairs",
            got=f"--stage {new.stage}, which has {numbers}",
            remedy="Leave it out.",
        )
    if new.pooling is not None and new.pooling not in POOLINGS[new.stage]:
        raise ModelBuildError(
            f"--pooling {new.pooling}",
            expected="it with --stage dense only",
            got=f"--stage {new.stage}, whose pooling is {' or '.join(POOLINGS[new.stage])}",
            remedy="Leave it out.",
        )
    if new.revision is not None and _hub_id(new.origin) is None:
        raise ModelBuildError(
            f"--revision {new.revision}",
            expected="an id of the Hugging Face hub with --from",
            got=f"the path {new.origin}, which has no revisions",
            remedy="Leave it out, or name the id (owner/name).",
        )


def _hub_id(origin: str) -> str | None:
    """The id of the hub that a text stands for, or None where it stands for a path.

    An id is ``owner/name`` and nothing else. What is written as a path (``./x``, ``~/x``, ``/x``, ``x/``, ``a/b/c``) is
    one, and so is what lies in a folder that is here; ``hf:owner/name`` is an id whatever is here.
    """
    if origin.startswith(HUB_PREFIX):
        return origin.removeprefix(HUB_PREFIX)
    if not HUB_ID.fullmatch(origin) or Path(origin.partition("/")[0]).exists():
        return None
    return origin


def _origin(folder: Path, new: NewModel) -> tuple[Checkpoint, dict[str, str], str | None]:
    """The checkpoint, the table ``[source]``, and the licence that it states."""
    hub_id, path = _hub_id(new.origin), _expanded(new.origin)
    if hub_id is not None:
        checkpoint, where, declared = _from_hub(hub_id, new.revision, guessed=not new.origin.startswith(HUB_PREFIX))
    elif new.origin and path.is_dir():
        checkpoint = read_checkpoint(path.absolute())
        inside = path.resolve().is_relative_to(folder.parent.resolve())
        written = os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path.absolute())
        where = {"kind": "local", "path": written}
        declared = _license_of_card(path / "README.md")
    elif new.origin and path.exists():
        raise ModelBuildError(
            f"--from {new.origin}",
            expected="the folder of a checkpoint, with config.json, model.safetensors and tokenizer.json",
            got="a file",
            remedy="Name the folder that it lies in; weights in other formats than safetensors are not read.",
        )
    else:
        raise _no_such_folder(new.origin, path)
    digests = {
        "sha256": sha256_of(checkpoint.weights),
        "tokenizer_sha256": sha256_of(checkpoint.tokenizer),
        "config_sha256": sha256_of(checkpoint.config_file),
    }
    return checkpoint, where | digests, declared


def _expanded(origin: str) -> Path:
    try:
        return Path(origin).expanduser()
    except RuntimeError:  # a user that this machine does not know
        return Path(origin)


def _from_hub(hub_id: str, revision: str | None, *, guessed: bool) -> tuple[Checkpoint, dict[str, str], str | None]:
    if not HUB_ID.fullmatch(hub_id):
        raise ModelBuildError(
            f"--from {HUB_PREFIX}{hub_id}",
            expected="an id of the Hugging Face hub (owner/name)",
            got=repr(hub_id),
            remedy="Correct the id.",
        )
    try:
        commit, declared = resolve_revision(hub_id, revision)
        checkpoint = read_checkpoint(download(hub_id, commit))
    except ModelBuildError as error:
        thing = f"{error.thing} (no folder '{hub_id}' is here, so it is taken for an id of the hub)"
        raise ModelBuildError(
            thing if guessed else error.thing, expected=error.expected, got=error.got, remedy=error.remedy
        ) from error
    return checkpoint, {"kind": "huggingface", "repository": hub_id, "revision": commit}, declared


def _no_such_folder(origin: str, path: Path) -> ModelBuildError:
    """The error for a missing path: which part of it is missing, and what has a similar name there."""
    if not origin:
        return ModelBuildError(
            "--from",
            expected="a folder, or an id of the Hugging Face hub (owner/name)",
            got="nothing",
            remedy="Name one.",
        )
    there = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    missing = path.absolute().relative_to(there).parts[0]
    try:
        names = [each.name for each in there.iterdir() if each.is_dir()]
    except OSError:
        names = []
    nearest = difflib.get_close_matches(missing, names, n=1)
    remedy = "Correct the path; hf:owner/name is always an id of the hub."
    if nearest:
        remedy = f"Did you mean '{there / nearest[0]}'?"
    return ModelBuildError(
        f"--from {origin}",
        expected="a folder that is there, or an id of the Hugging Face hub (owner/name)",
        got=f"no '{missing}' in {there}",
        remedy=remedy,
    )


def _license_of_card(card: Path) -> str | None:
    if not card.exists():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else None


def _pooling(checkpoint: Checkpoint, stage: Stage, notes: list[str]) -> Pooling:
    declared = checkpoint.pooling()
    if declared is not None and declared not in POOLINGS[stage]:
        kind = next(each for each, poolings in POOLINGS.items() if declared in poolings)
        raise ModelBuildError(
            f"checkpoint {checkpoint.folder}",
            expected=f"one for stage '{stage}'",
            got=f"one for stage '{kind}': modules.json has the pooling '{declared}'",
            remedy=f"Use --stage {kind}, or another checkpoint.",
        )
    if declared is None and stage == "dense":
        notes.append("The checkpoint does not say how it pools: mean is assumed; --pooling names another.")
    return declared or POOLINGS[stage][0]


def _dimension(checkpoint: Checkpoint, new: NewModel) -> int:
    if new.stage == "sparse":
        vocabulary = checkpoint.config.get("vocab_size")
        usual = min(SPARSE_PAIRS, vocabulary) if isinstance(vocabulary, int) else SPARSE_PAIRS
        return usual if new.dimension is None else new.dimension
    return 1 if new.stage == "rerank" else checkpoint.width


def _prefixes(checkpoint: Checkpoint, new: NewModel, notes: list[str]) -> dict[str, str]:
    prompts = checkpoint.prompts
    given = {"query_prefix": new.query_prefix, "passage_prefix": new.passage_prefix}
    candidates = {"query_prefix": QUERY_PROMPTS, "passage_prefix": PASSAGE_PROMPTS}
    prefixes = {}
    for field, names in candidates.items():
        declared = next((prompts[name] for name in names if name in prompts), "")
        value = given[field]
        prefixes[field] = declared if value is None else value
    if not any(prefixes.values()) and None in given.values():
        notes.append("No prefixes found; if its card asks for some (as E5 does), set --query-prefix, --passage-prefix.")
    return prefixes


def _validated(name: str, fields: dict[str, Any]) -> ModelDescription:
    try:
        return ModelDescription(**fields)
    except ValidationError as error:
        field_error = first_field_error(error)
        raise ModelBuildError(
            f"model '{name}'",
            expected=f"{field_error.field.replace('_', ' ')}: {field_error.expected}"
            if field_error.field
            else field_error.expected,
            got=field_error.got,
            remedy="`embedder models add --help` lists the options; docs/models.md the fields.",
        ) from error


def _toml(fields: dict[str, Any], source: dict[str, str], origin: str) -> str:
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment(f"Written by `embedder models add` from {origin}. Fields: docs/models.md."))
    for name, value in fields.items():
        document.add(name, value)
    document.add("source", tomlkit.item(source))
    return tomlkit.dumps(document)
