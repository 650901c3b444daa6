"""Stations with a framed serial board, on the virtual bench and on the simulator."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rig"))

from benches import HEAD, SLOW, instrument, station_of
from benches import on_bench as on_any_bench

__all__ = ["GRIDS", "SLOW", "on_bench", "station_of", "text_of"]

#: The grids of the emulated board, for a simulator that obeys them.
GRIDS = """
[twin]
level_resolution = "0.5 mV"
width_resolution = "10 ns"
current_resolution = "1 nA"
"""


def text_of(rows=4, cols=4, device=SLOW, settings="", coding="amplitude", cell="1R"):
    head = HEAD.format(rows=rows, cols=cols, device=device)
    for old, new in (("[drive]", f'cell = "{cell}"\n[drive]'), ('"amplitude"', f'"{coding}"')):
        head = head.replace(old, new)
    return head + instrument("board", "serial-board", settings=settings, resource="/dev/ttyACM0")


@contextmanager
def on_bench(station, seed=0, limits=None, wire_log=None, board=None):
    """Yield (closed backend, bench): the station's board emulated on a serial line.

    ``board`` are options of the emulator.
    """
    options = {"options": {"board": board}} if board else {}
    with on_any_bench(station, seed, limits, wire_log, **options) as opened:
        yield opened
