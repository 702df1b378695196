"""A collection in a folder, for the tests of this package."""

from tests.support.corpora.extraction import collection
from tests.support.corpora.folder import folder, read, store

__all__ = ["collection", "folder", "read", "store"]
