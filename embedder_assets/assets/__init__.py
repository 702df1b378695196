"""The Dagster assets: one file a table. Each reads, calls a stage, and returns what Dagster should show."""
