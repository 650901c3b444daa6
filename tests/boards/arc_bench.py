"""Stations with an ArC ONE, on the virtual bench and on the simulator."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from hil_drivers.factory import RigFactory

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.registry import load

#: A device without noise whose pulses last 200 us.
SLOW = str(Path(__file__).parents[1] / "rig" / "slow.toml")
AS_RIG = "[twin]\nas_rig = true\n"

TEXT = """
schema = 1
[[array]]
rows = {rows}
cols = {cols}
device = '{device}'
[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "150 us"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
gap = "100 us"
coding = "amplitude"
[[instrument]]
name = "board"
driver = "arc-one"
resource = "/dev/ttyACM0"
settings = {{ timeout = "{timeout}", write_delay = "0.5 ms"{settings} }}
"""


def text_of(rows=4, cols=4, device=SLOW, settings="", timeout="5 s"):
    return TEXT.format(rows=rows, cols=cols, device=device, settings=settings, timeout=timeout)


def station_of(text) -> Station:
    return validate_text(text, Station, "station.toml")


class Limited:
    """A station with limits given as they are."""

    def __init__(self, station, limits):
        self._station, self._limits = station, limits

    def __getattr__(self, name):
        return getattr(self._station, name)

    @property
    def limits(self):
        return SimpleNamespace(limits=lambda: self._limits)


@contextmanager
def on_bench(text, seed=4, limits=None, wire_log=None, **options):
    """Yield (closed backend, bench, emulated board)."""
    station = station_of(text)
    with load("hil.benches", "virtual")(station, seed=seed, options={"board": options}) as bench:
        moved = station.at(bench.resources)
        if limits is not None:
            moved = Limited(moved, limits)
        backend = RigFactory().create(
            moved, moved.array[0], seed=seed, virtual=True, wait=bench.dwell, wire_log=wire_log
        )
        yield backend, bench, bench.instruments["board"]
