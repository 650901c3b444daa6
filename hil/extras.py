"""Imports from an optional extra, with one clear error where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hil.errors import BackendUnavailable

#: A module of ours that is missing is no extra.
OWN: Final = ("", "hil", "hil_sim", "hil_drivers", "hil_protocols")


@contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Import inside this ``with`` block what ``pip install "synapse-hil[extra]"`` brings.

    Args:
        what: what cannot be done without it, as the error's first words: "a picture".
        extra: name of the extra.

    Raises:
        BackendUnavailable: a module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        name = (exc.name or "").partition(".")[0]
        if name in OWN:
            raise
        raise BackendUnavailable(
            f'{what} needs {name}: pip install "synapse-hil[{extra}]"'
        ) from exc
