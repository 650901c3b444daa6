"""Opens the one array of a station that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.control.session import Session


@contextmanager
def open_one(
    station: Path,
    array: str | None,
    *,
    sim: bool,
    seed: int | None,
    out: Path = Path("runs"),
    drive: bool = True,
) -> Iterator[Session]:
    """Open the array called ``array`` (None: the station's first) and yield the session."""
    from hil.config.station import load_station
    from hil.control.session import open_session

    loaded = load_station(station)
    name = loaded.array_called(array).name
    with open_session(loaded, sim=sim, array=name, seed=seed, out=out, drive=drive) as session:
        yield session
