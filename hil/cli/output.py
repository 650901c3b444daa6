"""What a command prints: text for people, or exactly one JSON object for programs.

With ``--json`` standard output carries that one object and nothing else; whatever is meant for
people goes to standard error. Without it the text goes to standard output. Progress is always on
standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Option of every command.
JSON_FLAG: Final = "--json"


class Output:
    """Standard output and standard error of one command.

    Args:
        as_json: print one JSON object on standard output, and text on standard error.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """Print a line on standard error: what is going on, no part of the answer."""
        print(text, file=sys.stderr, flush=True)

    def backend(self, name: str, identity: str) -> None:
        """Print the backend's name: the first line of every command that drives an array."""
        self.say(f"backend: {name}: {identity.removeprefix(f'{name}: ')}")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows below a head; the first column is left-aligned, the others right-aligned."""
        cells = [[str(value) for value in row] for row in (head, *rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
        for row in cells:
            first, *others = (
                text.ljust(width) if k == 0 else text.rjust(width)
                for k, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            self.say("  ".join([first, *others]).rstrip())

    def result(self, value: Mapping[str, Any]) -> None:
        """Print the JSON object; does nothing without ``--json``."""
        if self.as_json:
            print_json(value)


def print_json(value: Mapping[str, Any], indent: int | None = None) -> None:
    """Print ``value`` as one JSON object on standard output; non-finite numbers become text."""
    from hil.record.jsonable import to_json

    sys.stdout.write(to_json(value, indent=indent).decode())
    sys.stdout.flush()
