"""Stations with an ArC ONE, on the virtual bench and on the simulator."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rig"))

from benches import HEAD, SLOW, instrument, station_of
from benches import on_bench as on_any_bench

__all__ = ["on_bench", "station_of", "text_of"]


def text_of(rows=4, cols=4, device=SLOW, settings="", timeout="5 s"):
    head = HEAD.format(rows=rows, cols=cols, device=device).replace('"2 ms"', '"150 us"')
    settings = f'timeout = "{timeout}", write_delay = "0.5 ms"{settings}'
    return head + instrument("board", "arc-one", settings=settings, resource="/dev/ttyACM0")


@contextmanager
def on_bench(text, seed=4, limits=None, wire_log=None, **options):
    """Yield (closed backend, bench, emulated board); ``options`` are the emulator's."""
    station = station_of(text)
    with on_any_bench(station, seed, limits, wire_log, options={"board": options}) as (
        board,
        bench,
    ):
        yield board, bench, bench.instruments["board"]
