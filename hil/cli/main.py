"""The ``hil`` command: parses the command line and gives every outcome its exit code.

Commands import what they need when they run, so that ``hil --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence

import typer

from hil.cli import failures
from hil.cli.commands import COMMANDS, GROUPS
from hil.cli.groups import DefaultGroup
from hil.cli.output import JSON_FLAG
from hil.errors import HilError

_HELP = """Hardware-in-the-loop control for arrays of electronic synapse devices.

`hil demo` shows everything on a simulated array; `hil init DIR` writes starter files."""

_EPILOG = "Exit codes: " + "; ".join(f"{k} {v}" for k, v in failures.EXIT_CODES.items()) + "."

#: Base of typer's usage errors; typer does not name it the same way in all versions.
_USAGE_ERROR: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError"
)


def _app() -> typer.Typer:
    app = typer.Typer(
        name="hil", help=_HELP, epilog=_EPILOG, rich_markup_mode=None,
        pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )  # fmt: skip
    for name, function in COMMANDS.items():
        app.command(name)(function)
    for name, (text, commands) in GROUPS.items():
        group = typer.Typer(
            help=text, cls=DefaultGroup, rich_markup_mode=None, no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )  # fmt: skip
        for inner, function in commands.items():
            group.command(inner)(function)
        app.add_typer(group, name=name)

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", is_eager=True, callback=_version
        ),
    ) -> None:
        """Take the options that stand before a command."""

    return app


def _version(wanted: bool) -> None:
    if wanted:
        from hil import __version__

        print(f"synapse-hil {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``hil`` with ``arguments`` (default: the process's own) and exit with its code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    # Two BLAS threads make the small products of a training run a hundred times slower.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows is not UTF-8 by itself
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _run(args, JSON_FLAG in args)
    except KeyboardInterrupt:  # one more signal while the first was being reported
        code = failures.INTERRUPTED
    if code == failures.INTERRUPTED:
        # All is closed and reported; a further signal would only change the exit code.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        # `python -m` would end with the signal instead of the code where the interrupt had left an
        # exec of text (an import that makes named tuples does that); the next exec makes it forget.
        exec("")
    sys.exit(code)


def _run(args: list[str], as_json: bool) -> int:
    sys.excepthook = failures.hook(as_json)
    command = typer.main.get_command(_app())
    try:
        with command.make_context("hil", args or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as exc:
        return exc.exit_code
    except _USAGE_ERROR as exc:
        context_ = getattr(exc, "ctx", None)
        hint = f" (see `{context_.command_path} --help`)" if context_ is not None else ""
        text = exc.format_message() if hasattr(exc, "format_message") else str(exc)
        return failures.report(failures.USAGE, "UsageError", text + hint, as_json)
    except HilError as exc:
        return failures.report_error(exc.exit_code, exc, str(exc), as_json)
    except KeyboardInterrupt as exc:
        text = "stopped at once; outputs are off"
        return failures.report_error(failures.INTERRUPTED, exc, text, as_json)
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        text = f"{where}{exc.strerror or exc}"
        return failures.report_error(failures.STORE, exc, text, as_json)
    return 0


if __name__ == "__main__":
    main()
