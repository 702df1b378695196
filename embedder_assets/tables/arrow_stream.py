"""Hands frames to a writer that takes an Arrow stream, one after the other, so that few are in memory at a time.

The writer runs in a thread of its own and the frames are made in the caller's: delta-rs takes a stream from inside its
runtime, where a frame that is read from another table would stop the process, and an interrupt reaches the caller only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from queue import Full, Queue

import polars as pl
from arro3.core import RecordBatch, RecordBatchReader, Table

POLL_S = 0.1


class _GiveUpError(Exception):
    """Ends the writer, because there will be no whole stream."""


# A frame, the end of the stream, or the end of the writer.
_Item = pl.DataFrame | None | type[_GiveUpError]


def write_stream(frames: Iterator[pl.DataFrame], write: Callable[[RecordBatchReader], None]) -> None:
    """Writes frames of one schema as one stream.

    Args:
        frames: What is written, one at least. An error that it raises comes out, and ``write`` ends without having got
            all.
        write: Takes the stream; its error comes out.
    """
    first, second = next(frames), next(frames, None)
    schema = Table.from_arrow(first).schema
    if second is None:
        write(RecordBatchReader.from_batches(schema, Table.from_arrow(first).to_batches()))
        return
    queue: Queue[_Item] = Queue(maxsize=1)
    with ThreadPoolExecutor(1, thread_name_prefix="table-writer") as pool:
        writing = pool.submit(write, RecordBatchReader.from_batches(schema, _taken_from(queue)))
        try:
            for frame in chain([first, second], frames):
                if not _given(queue, frame, writing):
                    break
        except BaseException:
            _given(queue, _GiveUpError, writing)
            raise
        _given(queue, None, writing)
        writing.result()


def _taken_from(queue: Queue[_Item]) -> Iterator[RecordBatch]:
    while (item := queue.get()) is not None:
        if not isinstance(item, pl.DataFrame):
            raise item
        yield from Table.from_arrow(item).to_batches()


def _given(queue: Queue[_Item], item: _Item, writing: Future[None]) -> bool:
    """Whether the writer still took an item."""
    while not writing.done():
        try:
            queue.put(item, timeout=POLL_S)
        except Full:
            continue
        return True
    return False
