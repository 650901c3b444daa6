"""Errors as people and programs see them: one line on standard error, and an exit code."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

#: Exit code -> meaning; printed by ``hil --help`` and in ``docs/exit-codes.md``.
EXIT_CODES: Final[dict[int, str]] = {
    0: "done",
    1: "an error inside synapse-hil (please report it)",
    2: "the command line is wrong",
    3: "a file or argument is wrong (says file, line and field)",
    4: "outside a safety limit or capability; it was not driven",
    5: "the backend is not there or failed",
    6: "a safety condition was met while running; outputs are off",
    7: "the run could not be recorded or read (disk full, read-only, damaged)",
    130: "interrupted; the array is in the safe state",
}
INTERNAL, USAGE, STORE, INTERRUPTED = 1, 2, 7, 130

#: Begin of the note that names the run's folder.
RUN_NOTE: Final = "run: "
_FRAMES: Final = 3  # innermost frames of an unexpected error that are worth a look


def report(exit_code: int, kind: str, message: str, as_json: bool, **details: Any) -> int:
    """Print one error and return ``exit_code``.

    One line on standard error, and with ``as_json`` the object ``{"error": {...}}`` on standard
    output as well.
    """
    line = " ".join(message.split())
    print(f"hil: {line}", file=sys.stderr, flush=True)
    if as_json:
        error = {"type": kind, "message": line, "exit_code": exit_code}
        error.update((k, _finite(v)) for k, v in details.items())
        print(json.dumps({"error": error}, ensure_ascii=False), flush=True)
    return exit_code


def _finite(value: Any) -> Any:
    """Return text for a number that JSON has no form of."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def report_error(exit_code: int, exc: BaseException, message: str, as_json: bool) -> int:
    """Print an exception with its notes (the run's folder among them) and return ``exit_code``."""
    notes = getattr(exc, "__notes__", [])
    text = f"{message} ({'; '.join(notes)})" if notes else message
    return report(exit_code, type(exc).__name__, text, as_json, **details_of(exc))


def details_of(exc: BaseException) -> dict[str, Any]:
    """Return what an error says in fields of its own (file, line, value, limit, run …)."""
    names = ("path", "line", "field", "quantity", "value", "limit", "unit", "block", "step",
             "where", "address")  # fmt: skip
    found = {name: getattr(exc, name, None) for name in names}
    for note in getattr(exc, "__notes__", []):
        if note.startswith(RUN_NOTE):
            found["run"] = note.removeprefix(RUN_NOTE)
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in found.items()
        if value is not None
    }


def hook(
    as_json: bool,
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """Return a ``sys.excepthook`` that shows an unexpected error shortly; Python then exits 1."""

    def show(kind: type[BaseException], exc: BaseException, where: TracebackType | None) -> None:
        frames = traceback.extract_tb(where)[-_FRAMES:]
        for text in traceback.format_list(frames):
            sys.stderr.write(text)
        report(INTERNAL, kind.__name__, f"{kind.__name__}: {exc}", as_json)
        print(
            "hil: this is an error inside synapse-hil, not in your files; please report it with "
            "the lines above and the output of `hil doctor`",
            file=sys.stderr,
        )

    return show
