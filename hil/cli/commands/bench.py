"""``hil bench``: the virtual bench for other programs."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Literal

import typer

from hil.cli.options import AsJson, Seed
from hil.cli.output import Output


def bench(
    action: Annotated[Literal["up"], typer.Argument(help="Start the bench and serve.")],
    station: Annotated[Path, typer.Argument(metavar="STATION", help="Station file.")],
    realistic: Annotated[
        bool,
        typer.Option("--realistic", help="Take the time that the manuals state for messages."),
    ] = False,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Emulate a station's instruments for other programs, until Ctrl-C.

    Prints the VISA resource of every instrument; any client can connect. With --json that is one
    line: instrument -> resource.
    """
    from hil.cli.stopping import SIGNALS
    from hil.config.station import load_station
    from hil.control.bench import bench_up

    output = Output(as_json)
    loaded = load_station(station)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in SIGNALS}
    try:
        number = loaded.twin.seed if seed is None else seed
        with bench_up(loaded, seed=number, realistic=realistic) as opened:
            output.say(f"backend: virtual bench: {loaded.name}, emulated instruments and devices")
            output.table(["instrument", "resource"], opened.resources.items())
            output.say("serving until Ctrl-C")
            output.result(opened.resources)
            while not stop.wait(0.2):  # without a limit Ctrl-C would not wake it on Windows
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
