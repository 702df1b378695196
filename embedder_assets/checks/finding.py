"""What a rule finds, and what a rule is; free of Dagster, which shows findings as results of checks (``blocking``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from embedder_assets.run_context import Pipeline


class Finding(NamedTuple):
    """What a rule has to say about a collection or a run.

    Attributes:
        level: ``note``: nothing is wrong, the check passes and shows the text. ``warning``: something is wrong and
            does not make the results wrong, the check fails as a warning. ``error``: the check blocks what follows.
        text: What was found.
    """

    level: Literal["note", "warning", "error"]
    text: str


# Looks at one collection; None where there is nothing to say.
Rule = Callable[[Pipeline, str], Finding | None]


def error_or_none(text: str | None) -> Finding | None:
    """A text as an error, where there is one."""
    return None if text is None else Finding("error", text)
