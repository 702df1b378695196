"""Asset checks: what must hold after each asset, in every run. An error stops everything downstream.

The rules are functions free of Dagster (``rules``, ``quality_gate``, ``hnsw_index``, ``proof``) that return a
``finding.Finding``; ``blocking`` makes Dagster's checks of them, ``data`` and ``telemetry`` list the checks for
``definitions``. Measuring belongs to the stages and to ``evaluation``: a rule compares, and changes nothing.
"""
