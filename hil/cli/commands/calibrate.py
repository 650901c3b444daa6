"""``hil calibrate``: measure what a rig's readings are to be corrected by."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hil.cli.options import ArrayName, AsJson, quantity_of
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.control.calibrating import Fixture, OpenRig, Work

_REFERENCE_OHM: Final = 1e5  # on the virtual bench, where any resistor is at hand
_MOST_ROWS: Final = 40


def calibrate(
    station: Annotated[Path, typer.Argument(metavar="STATION", help="Station file.")],
    virtual: Annotated[
        bool,
        typer.Option("--virtual", help="On a virtual bench, which connects everything by itself."),
    ] = False,
    array: ArrayName = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write [default: the station's `calibration`, or calibration.json beside "
            "it].",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    step: Annotated[
        list[str] | None,
        typer.Option("--step", help="zero, open, short or reference; repeat it [default: all]."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="OHM",
            help='Value of the reference resistor, e.g. "100 kohm" [default: asked for].',
        ),
    ] = None,
    volts: Annotated[
        str | None,
        typer.Option(
            "--volts",
            metavar="V",
            help='Voltage across the reference and at open lines, e.g. "100 mV" [default: the read '
            "voltage].",
        ),
    ] = None,
    short_volts: Annotated[
        str | None,
        typer.Option("--short-volts", metavar="V", help='Voltage at shorts [default: "10 mV"].'),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="A",
            help='Measuring range, e.g. "10 uA"; repeat it [default: those that the array needs].',
        ),
    ] = None,
    short_at: Annotated[
        list[str] | None,
        typer.Option(
            "--short-at",
            metavar="R,C",
            help="Short only this row and column; repeat it [default: all lines joined].",
        ),
    ] = None,
    every_line: Annotated[
        bool,
        typer.Option("--every-line", help="Measure the reference through every line, too."),
    ] = False,
    averages: Annotated[
        int, typer.Option("--averages", min=1, max=100_000, help="Readings per value.")
    ] = 8,
    base: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Take what is not measured from this file."),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask: what is needed is connected already."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Calibrate a rig: offsets, leakage, path resistance, gains.

    Writes a calibration file. Says first which voltages it will apply, then what to connect, step
    by step. Outputs are off and relays open while you connect. Runs use the file when the station
    file names it: calibration = "calibration.json".
    """
    from hil.cli.stopping import StopGuard
    from hil.config.station import load_station
    from hil.control.calibrating import Calibrating, open_rig
    from hil.errors import ConfigError
    from hil.registry import backend_factory

    output = Output(as_json)
    loaded = load_station(station)
    table = loaded.array_called(array)
    factory = backend_factory(loaded.backend)
    path = file
    if path is None and isinstance(factory, Calibrating):
        path = factory.calibration_path(loaded, table)
    if path is not None and path.exists() and not force:
        raise ConfigError("already there; --force replaces it", path=path, field="--output")
    wish: dict[str, Any] = {
        "steps": step or (), "shorts": short_at or (), "every_line": every_line,
        "averages": averages, "base": base,
        "level_v": quantity_of(volts, "voltage"),
        "short_v": quantity_of(short_volts, "voltage"),
        "ranges_a": [quantity_of(r, "current") for r in ranges or ()],
    }  # fmt: skip
    if not step or "reference" in step:
        wish["reference_ohm"] = _reference(output, reference, virtual)
    with (
        StopGuard() as guard,
        open_rig(loaded, table.name, virtual=virtual, calibrated=False) as rig,
    ):
        guard.watch([rig.backend])
        output.backend(rig.backend.name, rig.backend.identify())
        work = rig.factory.calibration(rig.backend, rig.station, rig.array, rig.op, **wish)
        _announce(output, work)
        if yes and not virtual and len(work.fixtures()) > 1:
            needed = ", then ".join(f.text for f in work.fixtures())
            raise ConfigError(
                f"more than one thing has to be connected ({needed}); with --yes give one --step "
                "at a time, and --from the file of the step before", field="--yes",
            )  # fmt: skip
        for fixture in work.run():
            _connect(output, rig, fixture, yes, guard.check)
    guard.check()
    if path is None:
        raise ConfigError("give a name", field="--output")
    work.save(path, overwrite=force)
    _show(output, work)
    output.say(f"calibration: {path}")
    if loaded.calibration is None:
        named = Path(os.path.relpath(path, station.parent)).as_posix()
        output.say(f'to use it, write above the tables of {station}: calibration = "{named}"')
    output.result({"file": path, "backend": rig.backend.name, "calibration": work.facts()})


def _reference(output: Output, text: str | None, virtual: bool) -> float:
    """Return the reference's value in ohms, asked for where it is not given."""
    from hil.errors import ConfigError

    if text is None and virtual:
        return _REFERENCE_OHM
    if text is None:
        text = _ask('Value of the reference resistor, e.g. "100 kohm": ')
    ohm = quantity_of(text, "resistance")
    if ohm is None or not ohm > 0.0:
        raise ConfigError(f"{text} is no resistor", field="--reference")
    return ohm


def _announce(output: Output, work: Work) -> None:
    output.say("will apply:")
    for line in work.lines():
        output.say(f"  {line}")


def _connect(
    output: Output, rig: OpenRig, fixture: Fixture, yes: bool, check: Callable[[], None]
) -> None:
    """Have a fixture connected: by the virtual bench, or by a person who is asked to."""
    if rig.bench is not None:
        output.say(f"{fixture.step}: virtual bench: {fixture.text}")
        rig.bench.insert(rig.array.name, fixture.g_siemens)
        return
    output.say(f"{fixture.step}: outputs are off and relays open")
    output.say(f"{fixture.step}: {fixture.text}")
    if not yes:
        _ask("press Enter when it is connected (Ctrl-C ends without a file) ", check)


def _ask(prompt: str, check: Callable[[], None] = lambda: None) -> str:
    """Return a line from standard input; a signal ends the wait at once.

    ``check`` raises when a stop was asked for already.

    Raises:
        ConfigError: there is nobody to answer.
        RunInterrupted: a signal came.
    """
    from hil.errors import ConfigError

    with _interruptible():
        check()  # a signal that came before is not lost
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
    if not line:
        raise ConfigError("nobody answers (standard input has ended); give --reference and --yes")
    return line.strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let the first signal end what waits; otherwise it is only noted until the next block."""
    from hil.cli.stopping import SIGNALS
    from hil.errors import RunInterrupted

    def stop(*_: object) -> None:
        raise RunInterrupted("stopped while outputs were off; no file was written")

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(output: Output, work: Work) -> None:
    for shown in work.tables():
        output.say()
        output.table(shown.head, shown.rows[:_MOST_ROWS])
        if len(shown.rows) > _MOST_ROWS:
            output.say(f"… and {len(shown.rows) - _MOST_ROWS} more in the file")
    output.say()
    for note in work.notes():
        output.say(f"note: {note}")
