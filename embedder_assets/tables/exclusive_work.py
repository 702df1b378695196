"""Work on a collection, one at a time on a host, and again where another host was first."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from embedder_assets.errors import CommitConflictError
from embedder_assets.tables.locks import collection_lock
from embedder_assets.tables.store import TableStore

Result = TypeVar("Result")

TRIES = 8
LONGEST_WAIT_S = 10


def run_exclusively(store: TableStore, collections: Collection[str], work: Callable[[TableStore], Result]) -> Result:
    """Does some work on collections while no other process of this home works on one of them.

    Where hosts share the tables, another one may commit to one of them meanwhile. Then the work is done again, on what
    the tables are now: it computes what is missing, so it finds the other's rows there, and what it has staged itself.

    Args:
        store: The tables.
        collections: What the work is about.
        work: Reads and changes them through the tables that it is given; has to bear being done again.

    Raises:
        CommitConflictError: Somebody else was first each time.
    """
    tries = Retrying(
        retry=retry_if_exception_type(CommitConflictError),
        wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_S),
        stop=stop_after_attempt(TRIES),
        reraise=True,
    )
    with ExitStack() as stack:
        for name in sorted(collections):
            stack.enter_context(collection_lock(store.home, name))
        for attempt in tries:
            with attempt, store.transaction() as tables:
                result = work(tables)
    return result
