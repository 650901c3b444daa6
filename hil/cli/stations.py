"""Opens the one array of a station that a command works on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hil.cli.output import Output
    from hil.control.session import Session
    from hil.program import PulseBlock


@contextmanager
def open_one(
    station: Path,
    array: str | None,
    *,
    sim: bool,
    seed: int | None,
    out: Path = Path("runs"),
    drive: bool = True,
    all_arrays: bool = False,
    virtual: bool = False,
    wire_log: bool = False,
) -> Iterator[Session]:
    """Open the array called ``array`` (None: the station's first), or all, and yield the session.

    Without ``drive`` nothing will be driven; where the station's own backend cannot be made then,
    the simulated twin takes its place, and a line on stderr says so. A rig on the virtual bench is
    always opened: what it can do is then that of the instruments found.
    """
    from hil.config.station import load_station
    from hil.control.opening import make_backend
    from hil.control.session import open_session
    from hil.errors import BackendUnavailable, ConfigError

    one_of(sim, virtual)
    loaded = load_station(station)
    table = loaded.array_called(array)
    name = None if all_arrays and array is None else table.name
    if not (drive or sim or virtual):
        try:
            make_backend(loaded, table, sim=False, seed=seed)
        except (BackendUnavailable, ConfigError) as exc:
            print(f"{exc}; nothing is driven, so the twin stands in", file=sys.stderr)
            sim = True
    with open_session(
        loaded, sim=sim, array=name, seed=seed, out=out, drive=drive or virtual, virtual=virtual,
        wire_log=wire_log,
    ) as session:  # fmt: skip
        warn_of_calibration(session)
        yield session


def warn_of_calibration(session: Session) -> None:
    """Say on stderr what a user should know of the calibrations in force: age, firmware."""
    from hil.control.calibrating import warnings_of

    for text in warnings_of(session.station, session.backends):
        print(f"hil: warning: {text}", file=sys.stderr)


def say_of_chip(session: Session, output: Output) -> None:
    """Say how much of its endurance a chip has used, where the station names one."""
    import math

    if session.chip is None:
        return
    for note in session.chip.notes:
        output.note(f"hil: note: {note}")
    for name, backend in session.backends.items():
        limit = backend.limits.pulses_per_device
        allowed = "" if limit == math.inf else f" of {limit:g} allowed"
        most = int(session.chip.ledger(name).selected().max())
        output.say(
            f"chip {session.chip.chip}, array {name}: so far at most {most} pulses on a device"
            f"{allowed}"
        )


def one_of(sim: bool, virtual: bool) -> None:
    """Refuse ``--sim`` together with ``--virtual``."""
    if sim and virtual:
        raise typer.BadParameter("--sim and --virtual exclude each other")


def plan_of(
    session: Session, protocol: str, array: str | None, check: Callable[[], None] | None = None
) -> list[str]:
    """Return what a rig says about a static protocol before it is run, nothing for others.

    ``check`` is called before every block is planned; it may raise to end the work.

    Raises:
        LimitError: the rig cannot do it.
    """
    from hil.control.array import load_protocol
    from hil.control.bench import Planning

    backend = session.backends[session.table(array).name]
    procedure = load_protocol(protocol)
    if procedure.adaptive or not isinstance(backend, Planning):
        return []

    def blocks() -> Iterator[PulseBlock]:
        for block in procedure.programme(session.context(array)):
            if check is not None:
                check()
            yield block

    return backend.preview(blocks())
