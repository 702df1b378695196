"""The Delta Lake tables: their schemas, and how rows are read, replaced, added and deleted."""
