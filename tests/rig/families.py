"""Stations of rigs made of every instrument family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benches import b2200, instrument, k707

#: Devices without noise whose nominal pulse lasts 200 us and 4 ms.
DEVICES = {name: str(Path(__file__).with_name(f"{name}.toml")) for name in ("slow", "slower")}


def k3706(row, column):
    return f"1{row + 1}{column:02d}"


MATRICES = {"keithley-707b": k707, "keithley-3706a": k3706, "keysight-b2200a": b2200}


@dataclass(frozen=True)
class Family:
    """One rig: sources as (name, driver, channels, trigger line), a matrix, models, timing.

    ``resolution_siemens``: what a reading at 0.2 V resolves, in the meter's range.
    """

    sources: tuple[tuple[str, str, str, str | None], ...]
    mux: str = "keithley-707b"
    models: tuple[tuple[str, str], ...] = ()
    slow_points: bool = False
    resolution_siemens: float = 1e-8

    @property
    def options(self):
        """What the bench has to be told besides the station."""
        return {name: {"model": model} for name, model in self.models}

    def station(self, rows=3, cols=3, device="nonlinear"):
        """Return the station file: every line reaches every channel and the rail."""
        channels = [f"{n}.{c}" for n, _, cs, _ in self.sources for c in cs]
        channels.append("common")
        point = MATRICES[self.mux]
        width, gap = ("4 ms", "4 ms") if self.slow_points else ("200 us", "100 us")
        wiring = "".join(
            f'[[wiring]]\nline = "{group}:{count}"\nchannel = "{channel}"\n'
            f'crosspoint = "mux/{point(row, first)}"\n'
            for group, count, first in (("WL0", rows, 1), ("BL0", cols, rows + 1))
            for row, channel in enumerate(channels)
        )
        return (
            f"schema = 1\n[[array]]\nrows = {rows}\ncols = {cols}\ndevice = '{device}'\n"
            '[drive]\ng_min = "1 uS"\ng_max = "100 uS"\nread_voltage = "0.2 V"\n'
            f'read_width = "{"4 ms" if self.slow_points else "2 ms"}"\n'
            'potentiate_voltage = "1.5 V"\ndepress_voltage = "-1.5 V"\n'
            f'write_width = "{width}"\ngap = "{gap}"\ncoding = "amplitude"\n'
            + "".join(instrument(n, d, t) for n, d, _, t in self.sources)
            + instrument("mux", self.mux)
            + wiring
        )


def pair(driver, line, channels="1"):
    return (("one", driver, channels, line), ("two", driver, channels, line))


K2600 = ("smu", "keithley-2600b", "ab", None)
B2900 = ("smu", "keysight-b2900", "12", None)
FAMILIES = {
    "2400": Family(pair("keithley-2400", "2"), slow_points=True),
    "2450": Family(pair("keithley-2450", "3"), "keithley-3706a", slow_points=True),
    "2460": Family(pair("keithley-2450", "3"), "keysight-b2200a",
                   (("one", "2460"), ("two", "2460")), slow_points=True),
    "2400-follows-2600B": Family((("smu", "keithley-2600b", "a", "1"),
                                  ("old", "keithley-2400", "1", "1")), slow_points=True),
    "2450-follows-B2900": Family((("smu", "keysight-b2900", "1", "EXT3"),
                                  ("new", "keithley-2450", "1", "3")), slow_points=True),
    "B2902A": Family((B2900,)),
    "B2912A": Family((B2900,), "keithley-3706a", (("smu", "B2912A"),)),
    "B2901A-pair": Family(pair("keysight-b2900", "EXT3"), models=(("one", "B2901A"),
                                                                 ("two", "B2901A"))),
    "33522B-and-B2902A": Family((("gen", "keysight-33500b", "12", None), B2900),
                                "keysight-b2200a"),
    "33622A-and-2602B": Family((("gen", "keysight-33500b", "12", None), K2600),
                               models=(("gen", "33622A"), ("smu", "2602B"), ("mux", "708B"))),
    "81150A-and-B2902A": Family((("gen", "keysight-81160a", "12", None), B2900),
                                models=(("gen", "81150A"),)),
    "2612B-and-E5250A": Family((K2600,), "keysight-b2200a",
                               (("smu", "2612B"), ("mux", "E5250A"))),
    "2636B-and-3706A": Family((K2600,), "keithley-3706a"),
}  # fmt: skip
#: Every family as source and as meter, and every matrix; the others belong to the longer gates.
#: (2600B, 707B and 81160A are in the rigs (a) to (d).)
QUICK = ("2400", "2450", "33522B-and-B2902A")
