"""One folder a question; each says how it is run."""

# Before numpy, as in the command: it says how numpy's threads wait.
import embedder_assets  # noqa: F401
