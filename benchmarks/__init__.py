"""One folder per question, run with ``make bench NAME=folder``; ``common`` has what several of them use."""

# Before numpy, as in the command: it says how numpy's threads wait.
import embedder_assets  # noqa: F401
