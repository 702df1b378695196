"""The command ``embedder``: one module per group of commands, and what they print.

``main`` is the entry point with the commands of a run; ``models`` and ``tables`` are groups of commands; ``doctor``,
with ``doctor_storage``, and ``summary`` say what one command prints. ``group`` is the behaviour of every command,
``display`` what they print, ``interrupt`` the way out on Ctrl-C. ``stack``, ``supervise``, ``webserver`` and
``sd_notify`` are ``embedder up``. What a command does belongs to the package that it calls, and so does anything that a
run started by Dagster needs: nothing below imports this package.
"""
