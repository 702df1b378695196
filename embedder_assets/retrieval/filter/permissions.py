"""Who may see a document: permissions are metadata, and whatever is not understood is closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from embedder_assets.corpus.metadata.values import ACL

_NOBODY: frozenset[str] = frozenset()


def groups_of(allow: Iterable[str] | None) -> frozenset[str] | None:
    """The groups of a reader; None for an operator, who sees everything. A text alone is one group."""
    if allow is None:
        return None
    return frozenset([allow] if isinstance(allow, str) else allow) - {""}


def readers_of(metadata: Mapping[str, object] | None, public: bool | None) -> frozenset[str] | None:
    """The groups that may see a document; None where everybody may.

    These are what its ``acl`` names, letter by letter; everybody, if it has none and its collection is public. An
    ``acl`` that is no list of texts names nobody, as an empty one does.

    Args:
        metadata: Of the document; None where it cannot be read.
        public: Whether everybody may see it if it has no ``acl``.
    """
    if metadata is None:
        return _NOBODY
    fields = [name for name in metadata if name.strip().casefold() == ACL]
    if not fields:
        return None if public is True else _NOBODY
    named = metadata[ACL] if fields == [ACL] else None
    if isinstance(named, list) and all(isinstance(each, str) for each in named):
        return frozenset(named)
    return _NOBODY


def may_see(groups: frozenset[str], readers: frozenset[str] | None) -> bool:
    """Whether a reader of some groups is one of the readers of a document."""
    return readers is None or not groups.isdisjoint(readers)
