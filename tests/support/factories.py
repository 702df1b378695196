"""What the tests build their cases from: settings, rows of every table, stage records, and a Triton that is none."""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from embedder_assets.errors import EmbedderError, InferenceError
from embedder_assets.serving.client.grpc import UNOBSERVED, Answer, Failure, Outputs, RequestObserver, Row
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.serving.models.tokenization import TokenCounts
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter, StageName, StageRecord

DENSE, SPARSE, RERANK = "dense_minilm", "sparse_splade", "rerank_cross_encoder"
SECOND = "dense_second"
GB = 10**9


def make_settings(home: Path, provenance: str = "test", **values: Any) -> Settings:
    chosen = {name: (value, provenance) for name, value in {"home": home, **values}.items()}
    port = {name: os.environ[name] for name in ("EMBEDDER_METRICS_PORT",) if name in os.environ}
    return load_settings(chosen, environ=port, directory=home)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def chunk_id(doc_id: str, index: int, collection: str = "kb") -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{collection}/{doc_id}/{index}"))


def make_chunks(*texts: str, doc_id: str = "a.md", collection: str = "kb") -> pl.DataFrame:
    """The chunks of one document, whose text is ``document_text(*texts)``; a token is a word."""
    rows, start = [], 0
    for index, text in enumerate(texts):
        rows.append(
            {
                "collection": collection,
                "doc_id": doc_id,
                "chunk_id": chunk_id(doc_id, index, collection),
                "chunk_index": index,
                "text": text,
                "start": start,
                "end": start + len(text),
                "token_count": len(text.split()),
                "heading": "Guide",
                "content_sha256": sha256(text),
                "document_sha256": sha256(document_text(*texts)),
                "chunking": "test",
                "title": None,
                "context": None,
                "table_header": None,
                "page": None,
                "last_page": None,
            }
        )
        start += len(text) + 2
    return pl.DataFrame(rows, schema=SCHEMAS["chunks"])


def document_text(*texts: str) -> str:
    return "\n\n".join(texts)


def make_documents(collection: str = "kb", **texts: str) -> pl.DataFrame:
    """Documents named by the keywords, each with the suffix ``.md``."""
    rows = [
        {
            "collection": collection,
            "doc_id": f"{name}.md",
            "title": name,
            "media_type": "text/markdown",
            "size_bytes": len(text),
            "text": text,
            "content_sha256": sha256(text),
            "source_sha256": sha256(text),
            "extraction": "test",
        }
        for name, text in texts.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMAS["documents"])


def make_queries(*texts: str, collection: str = "kb") -> pl.DataFrame:
    rows = [(collection, f"q{number}", text, "provided") for number, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=SCHEMAS["queries"], orient="row")


def make_record(stage: StageName, status: str = "ok", **values: Any) -> StageRecord:
    defaults: dict[str, Any] = {"collections": ["kb"], "started_at": 1000.0, "ended_at": 1002.5}
    return StageRecord(stage=stage, status=status, **{**defaults, **values})


def make_meter(stage: StageName = "dense") -> StageMeter:
    return StageMeter(stage, ["kb"])


def make_pipeline(home: Path, **values: Any) -> SimpleNamespace:
    """What rules need of a Pipeline."""
    return SimpleNamespace(store=TableStore(home), settings=make_settings(home, **values), triton=FakeTriton())


def dense_vector(text: str) -> np.ndarray:
    """A unit vector that only this text has."""
    vector = np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], np.uint8).astype(np.float32) - 127.5
    return vector / np.linalg.norm(vector)


def second_vector(text: str) -> np.ndarray:
    """The same of another model, of another dimension."""
    return np.append(dense_vector(f"second {text}"), np.float32(0))


def term(word: str) -> int:
    """The vocabulary index of a word."""
    return int(sha256(word)[:4], 16)


def make_error(kind: type[EmbedderError] = InferenceError, thing: str = "the model") -> EmbedderError:
    return kind(thing, expected="an answer", got="none", remedy="Wait.")


class FakeTriton:
    """Stands at the edge where TritonSession does; answers from the text alone and remembers the requests.

    Args:
        rerank_formula: The weights of the rerank model.
        fail_at: Number of the request, from 0, that is answered with an error.
        broken: Model to the error that it answers every request with.
        poison: Texts on which every model fails though they are alone; of a pair the passage.
    """

    def __init__(
        self,
        rerank_formula: ScoreFormula | None = None,
        fail_at: int | None = None,
        broken: dict[str, EmbedderError] | None = None,
        poison: Iterable[str] = (),
    ) -> None:
        self.rerank_formula = rerank_formula or ScoreFormula()
        self.fail_at = fail_at
        self.broken = broken or {}
        self.poison = set(poison)
        self.requests: list[list[Row]] = []
        self.roles: list[str] = []
        self.fingerprints = {DENSE: "dense-1", SECOND: "second-1", SPARSE: "sparse-1", RERANK: "rerank-1"}
        self.with_context: set[str] = set()
        self.token_budgets = {DENSE: 256, SECOND: 512}

    @property
    def texts(self) -> list[str]:
        """Every text that was sent, in the order of sending."""
        return [row[-1] for rows in self.requests for row in rows]

    def fingerprint(self, model: str, stage: str) -> str:
        return self.fingerprints[model]

    def precision_change(self, model: str, fingerprint: str) -> str | None:
        """Fingerprints that begin alike are of one model in several precisions."""
        now = self.fingerprints[model].partition("-")[0]
        return f"'{model}' was {fingerprint}" if fingerprint.startswith(f"{now}-int8") else None

    def score_formula(self, model: str) -> ScoreFormula:
        return self.rerank_formula

    def max_tokens(self, model: str) -> int:
        return self.token_budgets[model]

    def reads_context(self, model: str) -> bool:
        return model in self.with_context

    def count_tokens(self, model: str, rows: Sequence[Row], role: str = "passage") -> TokenCounts:
        """A token is a word; one that begins with a question mark is unknown."""
        words = [" ".join(row).split() for row in rows]
        unknown = [sum(word.startswith("?") for word in text) for text in words]
        return TokenCounts(
            texts=len(rows),
            truncated=sum(len(text) > self.token_budgets.get(model, 256) for text in words),
            unreadable=sum(2 * count > len(text) for text, count in zip(words, unknown, strict=True)),
            tokens=sum(map(len, words)),
            unknown=sum(unknown),
            spelled_out=0,
        )

    def infer_many(
        self,
        model: str,
        requests: Iterable[Sequence[Row]],
        *,
        role: str = "passage",
        observer: RequestObserver = UNOBSERVED,
    ) -> Iterator[Answer]:
        for rows in requests:
            if model in self.broken:
                raise self.broken[model]
            if len(self.requests) == self.fail_at:
                raise _failure()
            self.requests.append(list(rows))
            self.roles.append(role)
            failures = tuple(Failure(at, _failure()) for at, row in enumerate(rows) if row[-1] in self.poison)
            outputs = _OUTPUTS[model](rows)
            kept = [row[-1] not in self.poison for row in rows]
            answer = Answer({name: values[kept] for name, values in outputs.items()}, 0.01, failures=failures)
            observer.request(model, answer.latency_s, answer.rows)
            yield answer


def _failure() -> InferenceError:
    return InferenceError("the fake", expected="an answer", got="a failure", remedy="None.")


def _dense(rows: Sequence[Row]) -> Outputs:
    return {"embedding": np.stack([dense_vector(text) for (text,) in rows])}


def _second(rows: Sequence[Row]) -> Outputs:
    return {"embedding": np.stack([second_vector(text) for (text,) in rows])}


def _sparse(rows: Sequence[Row]) -> Outputs:
    """Each distinct word of a text with the weight 1, padded with zeros as the model does."""
    indices, values = np.zeros((len(rows), 8), np.int32), np.zeros((len(rows), 8), np.float32)
    for position, (text,) in enumerate(rows):
        words = sorted(set(text.split()))[:8]
        indices[position, : len(words)] = [term(word) for word in words]
        values[position, : len(words)] = 1.0
    return {"indices": indices, "values": values}


def _rerank(rows: Sequence[Row]) -> Outputs:
    """The number of words that query and passage share."""
    shared = [len(set(query.split()) & set(passage.split())) for query, passage in rows]
    return {"score": np.array(shared, np.float32).reshape(-1, 1)}


_OUTPUTS = {DENSE: _dense, SECOND: _second, SPARSE: _sparse, RERANK: _rerank}
