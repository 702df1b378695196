"""``embedder models add``: looks at a checkpoint and writes the ``model.toml`` that describes it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.checkpoint import Checkpoint, read_checkpoint, require_fit
from embedder_assets.serving.models import DESCRIPTION_FILE, POOLINGS, ModelDescription, Pooling, Stage
from embedder_assets.serving.sources import download, resolve_revision, sha256_of
from embedder_assets.settings import FIELDS

SPARSE_PAIRS = 256
# Longer inputs cost more than they give: attention is quadratic, and a vector of a long text says little of its parts.
USUAL_MAX_TOKENS = 512
QUERY_PROMPTS = ("query", "search_query", "s2p_query")
PASSAGE_PROMPTS = ("passage", "document", "search_document", "corpus")


@dataclass(frozen=True)
class NewModel:
    """What a user says about a new model; what is None or empty is read from the checkpoint.

    Attributes:
        origin: A folder, or an id of the Hugging Face hub.
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


def add_model(repository: Path, new: NewModel) -> AddedModel:
    """Writes the ``model.toml`` of a new model; nothing is built yet.

    Raises:
        ModelBuildError: The name is taken, or the checkpoint cannot be built as this stage.
    """
    folder = repository / new.name
    if folder.exists():
        raise ModelBuildError(
            f"model '{new.name}'",
            expected="a name that is free",
            got=f"the folder {folder}",
            remedy="Choose another name, or remove that folder.",
        )
    checkpoint, source, said_license = _origin(folder, new)
    license_ = new.license or said_license
    notes: list[str] = [] if license_ else ["No licence found: write it into model.toml, or use --license."]
    fields = {
        "name": new.name,
        "stage": new.stage,
        "license": license_ or "unknown",
        "pooling": new.pooling or _pooling(checkpoint, new.stage, notes),
        "max_tokens": new.max_tokens or min(checkpoint.max_tokens, USUAL_MAX_TOKENS),
        "dimension": _dimension(checkpoint, new),
        **_prefixes(checkpoint, new, notes),
    }
    if new.stage == "dense":
        fields["normalize"] = True
        if checkpoint.modules and "Normalize" not in checkpoint.modules:
            notes.append("Its own vectors are not of unit length; here they are scaled to it, and ranked by cosine.")
    if checkpoint.oddities:
        notes.append(f"{', '.join(checkpoint.oddities).capitalize()}: building needs the extra `export` (torch).")
    description = _validated(new.name, {**fields, "source": source})
    require_fit(checkpoint, description)
    folder.mkdir(parents=True)
    (folder / DESCRIPTION_FILE).write_text(_toml(fields, source, new.origin), "utf-8")
    setting = next(name for name in FIELDS if name.startswith(f"{new.stage}_model"))
    return AddedModel(folder / DESCRIPTION_FILE, description, notes, f"EMBEDDER_{setting.upper()}")


def _origin(folder: Path, new: NewModel) -> tuple[Checkpoint, dict[str, str], str | None]:
    """The checkpoint, the table ``[source]``, and the licence that it states."""
    path = Path(new.origin).expanduser()
    if path.is_dir():
        checkpoint = read_checkpoint(path.absolute())
        inside = path.resolve().is_relative_to(folder.parent.resolve())
        written = os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path.absolute())
        where = {"kind": "local", "path": written}
        said = _license_of_card(path / "README.md")
    elif path.exists():
        raise ModelBuildError(
            f"--from {new.origin}",
            expected="the folder of a checkpoint, with config.json, model.safetensors and tokenizer.json",
            got="a file",
            remedy="Name the folder that it lies in; weights in other formats than safetensors are not read.",
        )
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", new.origin):
        commit, said = resolve_revision(new.origin, new.revision)
        checkpoint = read_checkpoint(download(new.origin, commit))
        where = {"kind": "huggingface", "repository": new.origin, "revision": commit}
    else:
        raise ModelBuildError(
            f"--from {new.origin}",
            expected="a folder, or an id of the Hugging Face hub (owner/name)",
            got="neither",
            remedy="Correct the path or the id.",
        )
    digests = {"sha256": sha256_of(checkpoint.weights), "tokenizer_sha256": sha256_of(checkpoint.tokenizer)}
    return checkpoint, where | digests, said


def _license_of_card(card: Path) -> str | None:
    if not card.exists():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else None


def _pooling(checkpoint: Checkpoint, stage: Stage, notes: list[str]) -> Pooling:
    said = checkpoint.pooling() if stage != "rerank" else None
    if said is None and stage == "dense":
        notes.append("The checkpoint does not say how it pools: mean is assumed; --pooling names another.")
    return said or POOLINGS[stage][0]


def _dimension(checkpoint: Checkpoint, new: NewModel) -> int:
    if new.stage == "sparse":
        return new.dimension or SPARSE_PAIRS
    return 1 if new.stage == "rerank" else int(checkpoint.config.get("hidden_size", checkpoint.config.get("dim", 0)))


def _prefixes(checkpoint: Checkpoint, new: NewModel, notes: list[str]) -> dict[str, str]:
    prompts = checkpoint.prompts
    given = {"query_prefix": new.query_prefix, "passage_prefix": new.passage_prefix}
    candidates = {"query_prefix": QUERY_PROMPTS, "passage_prefix": PASSAGE_PROMPTS}
    prefixes = {}
    for field, names in candidates.items():
        said = next((prompts[name] for name in names if name in prompts), "")
        value = given[field]
        prefixes[field] = said if value is None else value
    if not any(prefixes.values()) and None in given.values():
        notes.append("No prefixes found; if its card asks for some (as E5 does), set --query-prefix, --passage-prefix.")
    return prefixes


def _validated(name: str, fields: dict[str, Any]) -> ModelDescription:
    try:
        return ModelDescription(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelBuildError(
            f"model '{name}'",
            expected=f"a description that is allowed ({'.'.join(map(str, first['loc'])) or 'fields'})",
            got=f"{first['msg']}: {first['input']!r}" if first["loc"] else first["msg"],
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
