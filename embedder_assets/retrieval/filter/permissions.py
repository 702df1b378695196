"""Who may see a document: permissions are metadata, and whatever is not understood is closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# The field of the metadata that names the groups.
ACL = "acl"


def groups_of(allow: Iterable[str] | None) -> frozenset[str] | None:
    """The groups of a reader; None for an operator, who sees everything. A text alone is one group."""
    if allow is None:
        return None
    return frozenset([allow] if isinstance(allow, str) else allow) - {""}


def may_see(groups: frozenset[str], metadata: Mapping[str, object] | None, public: bool | None) -> bool:
    """Whether a reader may see a document.

    Its ``acl`` names one of the reader's groups, letter by letter; or it has none, and its collection is public. An
    ``acl`` that is no list of texts names nobody, as an empty one does.

    Args:
        groups: Of the reader.
        metadata: Of the document; None where it cannot be read.
        public: Whether everybody may see it if it has no ``acl``.
    """
    if metadata is None:
        return False
    fields = [name for name in metadata if name.strip().casefold() == ACL]
    if not fields:
        return public is True
    named = metadata[ACL] if fields == [ACL] else None
    return isinstance(named, list) and all(isinstance(each, str) for each in named) and not groups.isdisjoint(named)
