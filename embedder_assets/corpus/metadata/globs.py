"""Patterns of paths as in ``.gitignore``, so that what holds for a folder holds for all that is in it."""

from __future__ import annotations

import re

# Each may stand for any number of folders; many of them in one pattern would take time that nobody expects.
_MAX_ANY_DEPTH = 5
_TOKENS = re.compile(r"\[[!^]?\]?[^\]]*\]|\*+|.", re.DOTALL)


def is_literal(glob: str) -> bool:
    """Whether a pattern stands for one path or name only."""
    return not re.search(r"[*?[]", glob)


def is_anchored(glob: str) -> bool:
    """Whether a pattern begins at the top of the collection; without a slash it stands for a name at any depth."""
    return "/" in glob.rstrip("/")


def compile_glob(glob: str) -> re.Pattern[str]:
    """A pattern that fully matches every path for which a glob holds.

    Args:
        glob: ``*`` and ``?`` stand for characters of one name, ``**`` for any folders, ``[a-z]`` for one of some
            characters.

    Raises:
        ValueError: It is no pattern.
    """
    parts = [part for part in glob.split("/") if part]
    if not parts or parts.count("**") > _MAX_ANY_DEPTH:
        raise ValueError(f"a path with at most {_MAX_ANY_DEPTH} times **")
    text = "" if is_anchored(glob) else "(?:[^/]+/)*"
    for at, part in enumerate(parts, start=1):
        if part == "**":
            text += "(?:[^/]+/)*" if at < len(parts) else ".+"
        else:
            text += _name(part) + ("/" if at < len(parts) else "")
    try:
        return re.compile(text + ("/.+" if glob.endswith("/") else "(?:/.*)?"), re.DOTALL)
    except re.error as error:
        raise ValueError(f"a pattern of paths ({error})") from error


def _name(part: str) -> str:
    """The expression for one name. What stands between two stars is found once and kept, so no pattern is slow."""
    pieces = [""]
    for token in _TOKENS.findall(part):
        if token.startswith("*"):
            pieces.append("")
        elif token == "?":
            pieces[-1] += "[^/]"
        elif len(token) > 1:
            negated = token[1] in "!^"
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[1 + negated : -1])
            pieces[-1] += f"[{'^/' if negated else ''}{escaped}]"
        else:
            pieces[-1] += re.escape(token)
    first, *rest = pieces
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return first + middle + (f"[^/]*{rest[-1]}" if rest else "")
