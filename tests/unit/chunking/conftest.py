"""A collection in a folder, for the tests of this package."""

from tests.support.corpora.folder import folder, read, store

__all__ = ["folder", "read", "store"]
