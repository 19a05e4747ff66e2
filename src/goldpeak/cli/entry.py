"""Run one command line: every outcome becomes an exit status and at most one clean message on stderr."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence

from goldpeak.cli import interrupt, show
from goldpeak.cli.status import BAD_INPUT, BROKEN_PIPE, FAULT, FINE, INTERRUPTED
from goldpeak.errors import ConvergenceWarning, GoldpeakError, RunsWarning

__all__ = ["main"]

COMPLETE = "_GOLDPEAK_COMPLETE"
"""Set by a shell's completion script."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``goldpeak``; those of this process by default.

    Returns
    -------
    int
        0 fine, 1 fault in goldpeak, 2 bad input, 3 a gate failed, 10 and 11 see `watch`, 130 interrupted, 141 the
        reader of stdout went away.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    goldpeak ...
    0
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    _open_streams()
    show.be_quiet(False)
    try:
        with interrupt.listen(), warnings.catch_warnings():
            _warn_in_one_line()
            status = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        return _silence()
    except SystemExit as done:
        # rich leaves by this door with 1 when it prints help into a closed pipe, shell completion with 0.
        return _silence() if done.code else FINE
    except KeyboardInterrupt:
        show.note("interrupted")
        return INTERRUPTED
    return status


def _run(args: list[str]) -> int:
    import typer
    from typer.main import get_command

    from goldpeak.cli.app import app

    command = get_command(app)
    if COMPLETE in os.environ:
        # The shell asks what could come next; answered by typer, which then exits.
        command.main(args, prog_name="goldpeak")
    before_command = list(itertools.takewhile(lambda word: word.startswith("-"), args))
    debug = "--debug" in before_command
    verbose = any(word == "--verbose" or (word[:2] != "--" and "v" in word) for word in before_command)
    try:
        # Not command.main(), which swallows Ctrl-C and closed pipes and prints errors in frames.
        with command.make_context("goldpeak", args) as context, show.working(verbose=verbose):
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:
        interrupt.check()
        if debug:
            traceback.print_exc()
        return _explain(error, ["goldpeak", *([] if debug else ["--debug"]), *args])
    return FINE


def _explain(error: Exception, debugging: list[str]) -> int:
    """Print what went wrong; return whose turn it is. `debugging` is the command line that tells all."""
    if isinstance(error, GoldpeakError):
        show.error(str(error))
        return error.exit_status
    if hasattr(error, "format_message"):
        return _explain_usage(error, error.format_message())
    if isinstance(error, OSError) and error.strerror:
        show.error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return BAD_INPUT
    what = " ".join(f"{type(error).__name__}: {error}".split())
    show.error(f"unexpected {what}")
    show.note(f"This is a fault in goldpeak. Please report it with all that this prints: {shlex.join(debugging)}")
    return FAULT


def _explain_usage(error: Exception, message: str) -> int:
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    wanted = getattr(parameter, "help", None) if message.startswith("Missing") else None
    show.error(f"{message.rstrip('.')}: {wanted}" if wanted else message)
    if context is not None:
        show.note(f"Try '{context.command_path} --help'.")
    return BAD_INPUT


def _open_streams() -> None:
    """A process started with a closed stdout or stderr has None in its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open until the process ends


def _warn_in_one_line() -> None:
    def print_it(message: Warning | str, *_: object, **__: object) -> None:
        show.warning(str(message))

    warnings.showwarning = print_it
    for category in (ConvergenceWarning, RunsWarning):
        warnings.simplefilter("always", category)
    # A failed gate is told by the command itself, with the exit status that goes with it.
    warnings.filterwarnings("ignore", "the sampler's gate failed", ConvergenceWarning)


def _silence() -> int:
    """Nobody reads stdout any more: point it nowhere, so that Python's last flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
