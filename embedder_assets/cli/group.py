"""What every ``embedder`` command does with its streams and its errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from embedder_assets.cli import interrupt
from embedder_assets.errors import EmbedderError
from embedder_assets.sanitize import redact, safe_line
from embedder_assets.terminal import prepare_streams, say_on_stderr


class Commands(click.Group):
    """Shows our own errors as one sentence and exit status 1 instead of a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs what the command line says."""
        prepare_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Looks at the options before the command."""
        with _in_a_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            with _in_a_sentence():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            say_on_stderr(f"Interrupted.{KEPT.get(ctx.invoked_subcommand or '', '')}")
            sys.exit(interrupt.STATUS)


def distinct(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names as they were first given, each once."""
    return tuple(dict.fromkeys(names))


# What an interrupt of a command means for its work.
KEPT = {"run": " What was computed is kept, and the next run goes on from there."}


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turns errors into what click shows, on one line that holds no secret and steers no terminal."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = safe_line(error.message)
        raise
    except EmbedderError as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:
        # Who reads has had enough, as `head` has; click ends the command for it.
        raise
    except (click.exceptions.Exit, click.Abort):
        raise
    except OSError as error:
        # Most often a disk that is full, or a folder that is not ours to write.
        sentence = f"{safe_line(str(error))}. Check free space and permissions, then run again."
        raise click.ClickException(sentence) from error
    except Exception as error:
        # Nobody has expected it: all of it is shown, and what a library quotes in it is still not obeyed.
        for line in redact("".join(traceback.format_exception(error))).rstrip().split("\n"):
            say_on_stderr(line)
        sys.exit(1)
