"""The manifest ``processing_summary.json``: its schema, how it is built, written, read and validated."""
