"""The Dagster assets, one module per asset: each reads tables, calls a stage, and returns metadata for Dagster's UI.

What a stage computes belongs to the package of the stage, which knows nothing of Dagster; what every asset needs of
Dagster belongs to ``support``. ``definitions`` imports the assets, ``processing_summary`` also serves failed runs.
"""
