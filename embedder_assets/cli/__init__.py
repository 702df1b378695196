"""The command ``embedder``: one module a group of commands, and what they print. No logic that a run needs."""
