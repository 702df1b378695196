"""The command ``embedder``: one module per group of commands, and what they print.

``main`` is the entry point, ``group`` the behaviour of every command, ``terminal`` the one way to the terminal and
``interrupt`` the way out on Ctrl-C; ``stack`` and ``supervise`` run ``make up``. Nothing that a run started by Dagster
needs belongs here, and nothing below imports it.
"""
