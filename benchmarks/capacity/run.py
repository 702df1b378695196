"""What do 10 million, a billion and 100 billion chunks cost, calculated from measured figures?

Nothing here is a measurement: it multiplies figures that were measured (``MEASURED``, each with its source), and says
what no figure is there for. The accelerator is calculated from the arithmetic of the model and an assumed share of the
device's peak, since none was there to measure.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

SIZES = (10_000_000, 1_000_000_000, 100_000_000_000)
SECONDS_PER_DAY = 86_400
TEXTS_PER_REQUEST = 64


@dataclass(frozen=True)
class Figure:
    """A number with its unit and where it is from."""

    value: float
    unit: str
    source: str


MEASURED = {
    "dense": Figure(2 / 148, "core seconds per chunk, int8", "asset_throughput: 148 chunks/s on 2 cores"),
    "sparse": Figure(2 / 183, "core seconds per chunk, int8", "manifest of a run: 183 chunks/s on 2 shared cores"),
    "rerank": Figure(2 / 340, "core seconds per pair", "rerank_throughput: 340 pairs/s on 2 cores"),
    "rest": Figure(2 * 402 / 1e6, "core seconds per chunk", "million_chunks: 402 s per million, models left out"),
    "tokenize": Figure(3.0e-4, "core seconds per chunk and model", "tokenizers over 3467 chunks of 158 tokens"),
    "search": Figure(2.3e-8, "core seconds per chunk and query, dense, exact", "numpy, 32 queries at once"),
    "tables": Figure(
        930 + 1688 + 0.72 * 1246, "bytes per chunk: text, sparse, documents", "Delta tables of 3467 chunks"
    ),
    "vectors": Figure(2071, "bytes per chunk and dense model of 384 dimensions", "the same tables"),
    "export": Figure(13_200, "bytes per chunk, two thirds of it qdrant_points.jsonl", "exports of 1420 chunks"),
}
TOKENS_PER_CHUNK = 158
# Two operations a weight and token; MiniLM-L6-H384 has 10.6 million weights outside of its embeddings.
OPERATIONS_PER_CHUNK = 2 * 10.6e6 * TOKENS_PER_CHUNK
# NVIDIA's data sheet, fp16 without sparsity; the share is assumed: small models fill a large device badly.
PEAK_OPERATIONS = 9.9e14
ASSUMED_SHARE = 0.2


@dataclass(frozen=True)
class Cost:
    """What a first pass over some chunks costs.

    Attributes:
        cores: Core days of dense and sparse models on processors.
        gpus: Days of one accelerator for both models, calculated.
        feeding: Core days of tokenizing for the accelerator.
        rest: Core days of everything but models.
        tables: Bytes with one dense model.
        exports: Bytes.
        requests: Requests to Triton.
        search: Core days of exact search for a thousand queries.
    """

    cores: float
    gpus: float
    feeding: float
    rest: float
    tables: float
    exports: float
    requests: float
    search: float


def cost_of(chunks: int, queries: int = 1000) -> Cost:
    """The cost of a first pass; a later one costs what has changed."""
    figure = {name: each.value for name, each in MEASURED.items()}
    days = chunks / SECONDS_PER_DAY
    return Cost(
        cores=days * (figure["dense"] + figure["sparse"]),
        gpus=days * 2 * OPERATIONS_PER_CHUNK / (PEAK_OPERATIONS * ASSUMED_SHARE),
        feeding=days * 2 * figure["tokenize"],
        rest=days * figure["rest"],
        tables=chunks * (figure["tables"] + figure["vectors"]),
        exports=chunks * figure["export"],
        requests=2 * chunks / TEXTS_PER_REQUEST,
        search=days * queries * figure["search"],
    )


def main() -> None:
    """Prints the figures and what follows from them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="*", default=SIZES)
    parser.add_argument("--queries", type=int, default=1000)
    arguments = parser.parse_args()
    out = Console(width=130)
    for name, figure in MEASURED.items():
        out.print(f"{name}: {figure.value:.3g} {figure.unit} ({figure.source})", highlight=False)
    table = Table("first pass over", *(f"{chunks:,} chunks" for chunks in arguments.chunks))
    costs = [cost_of(chunks, arguments.queries) for chunks in arguments.chunks]
    rows = {
        "dense and sparse on processors, core days": [f"{cost.cores:,.1f}" for cost in costs],
        "the same on one H100, days (calculated)": [f"{cost.gpus:,.3f}" for cost in costs],
        "tokenizing for it, core days": [f"{cost.feeding:,.2f}" for cost in costs],
        "everything else, core days": [f"{cost.rest:,.2f}" for cost in costs],
        f"exact search, {arguments.queries} queries, core days": [f"{cost.search:,.3f}" for cost in costs],
        "tables": [size(cost.tables) for cost in costs],
        "exports": [size(cost.exports) for cost in costs],
        "requests to Triton": [f"{cost.requests:,.0f}" for cost in costs],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    out.print(table)


def size(count: float) -> str:
    """Bytes in the largest unit that leaves a number above one."""
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MB"


if __name__ == "__main__":
    main()
