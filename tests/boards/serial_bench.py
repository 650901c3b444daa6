"""Stations with a framed serial board, on the virtual bench and on the simulator."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rig"))

from benches import SLOW, station_of
from benches import on_bench as on_any_bench

__all__ = ["GRIDS", "SLOW", "on_bench", "station_of", "text_of"]

#: The grids of the emulated board, for a simulator that obeys them.
GRIDS = """
[twin]
level_resolution = "0.5 mV"
width_resolution = "10 ns"
current_resolution = "1 nA"
"""

TEXT = """
schema = 1
[[array]]
rows = {rows}
cols = {cols}
device = '{device}'
cell = "{cell}"
[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "2 ms"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
gap = "100 us"
coding = "{coding}"
[[instrument]]
name = "board"
driver = "serial-board"
resource = "/dev/ttyACM0"
settings = {{ {settings} }}
"""


def text_of(rows=4, cols=4, device=SLOW, settings="", coding="amplitude", cell="1R"):
    return TEXT.format(
        rows=rows, cols=cols, device=device, settings=settings, coding=coding, cell=cell
    )


@contextmanager
def on_bench(station, seed=0, limits=None, wire_log=None, board=None):
    """Yield (closed backend, bench): the station's board emulated on a serial line.

    ``board`` are options of the emulator.
    """
    options = {"options": {"board": board}} if board else {}
    with on_any_bench(station, seed, limits, wire_log, **options) as opened:
        yield opened
