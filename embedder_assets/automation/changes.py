"""Which collections need a run: a decision without side effects, over what was seen and what is remembered.

A collection is asked for once its files have not changed for a while, so that a file that is still being written waits;
once for each state of its files; and never while a run of it is in progress.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class CollectionCursor(BaseModel):
    """What is remembered of a collection.

    Attributes:
        digest: Digest of its files at the last look.
        unchanged_since: Unix time of the first look that saw them so.
        requested: Digest for which a run was last asked for.
        request_count: How many runs were asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    unchanged_since: float
    requested: str | None = None
    request_count: int = 0


class SensorCursor(BaseModel):
    """The sensor's cursor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collections: dict[str, CollectionCursor] = Field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> SensorCursor:
        """What a cursor says; a cursor of another version says nothing, and every collection is looked at anew."""
        try:
            return cls.model_validate_json(cursor) if cursor else cls()
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class Observation:
    """What is so at a look.

    Attributes:
        files: Collection to the digest of its files; None where they could not be read.
        in_flight: Collections of runs that are queued or in progress.
        time: Unix time.
        settle_s: Seconds for which files must not change.
    """

    files: Mapping[str, str | None]
    in_flight: Collection[str]
    time: float
    settle_s: float


@dataclass
class Decision:
    """What to do.

    Attributes:
        run_keys: Collection to the key of the run to ask for.
        waiting: Collection to why it waits.
        cursor: What to remember.
    """

    run_keys: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    cursor: SensorCursor = field(default_factory=SensorCursor)


def decide(now: Observation, cursor: SensorCursor) -> Decision:
    """Which collections to ask a run for. A collection that is gone is remembered: its rows stay too."""
    decision = Decision(cursor=SensorCursor(collections=dict(cursor.collections)))
    for name, digest in now.files.items():
        earlier = cursor.collections.get(name)
        if digest is None:
            # A failed read is not an empty folder.
            decision.waiting[name] = "its files cannot be read"
            continue
        known = earlier or CollectionCursor(digest=digest, unchanged_since=now.time)
        # A look in the future was by a clock that was ahead: the files are unchanged from now on.
        if known.digest != digest or known.unchanged_since > now.time:
            known = known.model_copy(update={"digest": digest, "unchanged_since": now.time})
        if digest != known.requested:
            still_s = now.time - known.unchanged_since
            if still_s < now.settle_s:
                decision.waiting[name] = f"its files have been unchanged for {still_s:.0f} of {now.settle_s:.0f} s"
            elif name in now.in_flight:
                decision.waiting[name] = "its files changed, and a run of it is in progress"
            else:
                known = known.model_copy(update={"requested": digest, "request_count": known.request_count + 1})
                # The count makes the key new: files may come back to a state that was asked for before.
                decision.run_keys[name] = f"{name}/{known.request_count}/{digest[:12]}"
        decision.cursor.collections[name] = known
    return decision
