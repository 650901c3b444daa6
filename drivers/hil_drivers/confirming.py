"""What a safe state that is not confirmed does to an error already under way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hil.errors import HilError


@contextmanager
def confirming_safe() -> Iterator[None]:
    """Let an error of making safe pass unless one is under way, which gets a note instead."""
    under_way = sys.exception()
    try:
        yield
    except HilError as exc:
        if under_way is None:
            raise
        note = f"and the safe state was not confirmed: {exc}"
        if note not in getattr(under_way, "__notes__", []):
            under_way.add_note(note)
