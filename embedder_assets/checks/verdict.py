"""What a rule may say about a collection or a run."""

from __future__ import annotations

from collections.abc import Callable

from embedder_assets.run_context import Pipeline


class Note(str):
    """A remark on something that is not wrong: the check passes and shows it."""

    __slots__ = ()


class Worry(str):
    """Something that is wrong and does not make the results wrong: the check fails as a warning."""

    __slots__ = ()


# Looks at one collection and returns what is wrong with it, a Note, or None.
Rule = Callable[[Pipeline, str], str | None]
