"""The app of CocoIndex's own example for LanceDB, with our chunk size: Markdown files to a table of vectors.

It is also what ``cocoindex update`` is given; the environment says what is where.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

import cocoindex as coco
import numpy as np
from cocoindex.connectors import lancedb, localfs
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.file import PatternFilePathMatcher
from cocoindex.resources.id import IdGenerator
from numpy.typing import NDArray

from benchmarks.peers.sides.job import CHUNK_BYTES

DOCUMENTS, CHECKPOINT, SCRATCH = (os.environ[f"PEERS_{name}"] for name in ("DOCUMENTS", "CHECKPOINT", "SCRATCH"))
TABLE = "chunks"
DATABASE: Any = coco.ContextKey("database")
EMBEDDER: Any = coco.ContextKey("embedder")
embedder = SentenceTransformerEmbedder(CHECKPOINT, device="cpu")
splitter = RecursiveSplitter()


@dataclass
class Row:
    """A chunk of the table."""

    id: int
    filename: str
    start: int
    end: int
    text: str
    embedding: Annotated[NDArray[np.float32], EMBEDDER]


@coco.lifespan
async def resources(builder: Any) -> AsyncIterator[None]:
    """The database and the model."""
    builder.provide(DATABASE, await lancedb.connect_async(str(Path(SCRATCH) / "lancedb")))
    builder.provide(EMBEDDER, embedder)
    yield


@coco.fn
async def one_chunk(chunk: Any, path: PurePath, ids: IdGenerator, table: Any) -> None:
    """Declares a row."""
    table.declare_row(
        row=Row(
            id=await ids.next_id(chunk.text),
            filename=str(path),
            start=chunk.start.char_offset,
            end=chunk.end.char_offset,
            text=chunk.text,
            embedding=await coco.use_context(EMBEDDER).embed(chunk.text),
        )
    )


@coco.fn(memo=True)
async def one_file(file: Any, table: Any) -> None:
    """Splits a file; nothing is done for one that has not changed."""
    chunks = splitter.split(await file.read_text(), chunk_size=CHUNK_BYTES, chunk_overlap=0, language="markdown")
    await coco.map(one_chunk, chunks, file.file_path.path, IdGenerator(), table)


@coco.fn
async def folder(source: Path) -> None:
    """All files of the folder."""
    schema = await lancedb.TableSchema.from_class(Row, primary_key=["id"])
    table = await lancedb.mount_table_target(DATABASE, TABLE, schema)
    files = localfs.walk_dir(source, recursive=True, path_matcher=PatternFilePathMatcher(included_patterns=["**/*.md"]))
    await coco.mount_each(one_file, files.items(), table)


app = coco.App(coco.AppConfig(name="peers"), folder, source=Path(DOCUMENTS))
