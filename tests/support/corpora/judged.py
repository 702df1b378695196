"""A collection with judged queries: its corpus folder, and candidate tables that a test ranks as it likes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.results import EvaluationResult
from embedder_assets.tables.schemas import SCHEMAS
from tests.support.factories import make_documents, make_pipeline, make_queries

MODELS = {"dense": {"dense_minilm": "dense-1"}, "rerank": {"rerank_cross_encoder": "rerank-1"}}
# q0 asks for a (grade 2) and b (grade 1), q1 for c.
QRELS = "q0\ta.md\t2\nq0\tb.md\t1\nq1\tc.md\t1\n"


def judged_pipeline(tmp_path: Path, qrels: str = QRELS, **settings: Any) -> SimpleNamespace:
    """A pipeline whose collection ``kb`` has the queries q0 and q1, the documents a to d, and judgements."""
    folder = tmp_path / "corpus" / "kb"
    folder.mkdir(parents=True)
    lines = [json.dumps({"_id": f"q{number}", "text": "which"}) for number in range(2)]
    (folder / "queries.jsonl").write_text("\n".join(lines), "utf-8")
    write_qrels(tmp_path, qrels)
    pipeline = make_pipeline(tmp_path / "home", corpus_dir=tmp_path / "corpus", **settings)
    pipeline.store.replace("queries", "kb", make_queries("which", "what"))
    pipeline.store.replace("documents", "kb", make_documents(a="A", b="B", c="C", d="D"))
    return pipeline


def write_qrels(tmp_path: Path, lines: str) -> None:
    (tmp_path / "corpus" / "kb" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, "utf-8")


def rank(pipeline: SimpleNamespace, digest: str, **orders: Mapping[str, Sequence[str]]) -> None:
    """Writes a candidate table per keyword (``fused`` or ``reranked``): query to documents, one chunk each, best first.

    The dense ranking is the fused one, the sparse ranking is empty.
    """
    for name, order in orders.items():
        table = f"{name}_candidates"
        rows = [
            {"query_id": query, "doc_id": f"{document}.md", "chunk_id": f"{document}-0", "rank": number}
            for query, documents in order.items()
            for number, document in enumerate(documents, start=1)
        ]
        frame = pl.DataFrame(rows).with_columns(collection=pl.lit("kb"), input_digest=pl.lit(f"{name}-{digest}"))
        if name == "fused":
            frame = frame.with_columns(dense_rank="rank")
        missing = [pl.lit(None, kind).alias(column) for column, kind in SCHEMAS[table].items() if column not in frame]
        pipeline.store.replace(table, "kb", frame.with_columns(missing))


GOOD = {"q0": "abcd", "q1": "cabd"}
WORSE = {"q0": "dcba", "q1": "cabd"}


def evaluate(pipeline: SimpleNamespace, run_id: str = "run-1", models: Any = None) -> EvaluationResult | None:
    return EvaluateStage(pipeline.store, pipeline.settings).run("kb", models or MODELS, run_id)
