"""The start of the ``embedder`` command: Ctrl-C ends it with a sentence, from its first moment to its last."""

from __future__ import annotations

from embedder_assets.cli import interrupt


def main() -> None:
    """Loads the command and runs it."""
    interrupt.exit_immediately()
    try:
        from embedder_assets.cli.main import main as command

        command()
    finally:
        # As an exception, an interrupt of the interpreter's own shutdown would be a traceback.
        interrupt.exit_immediately()


if __name__ == "__main__":
    main()
