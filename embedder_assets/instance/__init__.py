"""What we keep in, or add to, a Dagster instance: its event log, its errors, the locks of runs and their launcher.

Knows nothing of tables, models or stages.
"""
