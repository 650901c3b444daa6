"""Stations of the four rig kinds for the virtual bench."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from hil_drivers.factory import RigFactory

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.registry import load

#: A device without noise, for pulses of 200 us.
SLOW = str(Path(__file__).with_name("slow.toml"))

HEAD = """
schema = 1
[[array]]
rows = {rows}
cols = {cols}
device = '{device}'
[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "2 ms"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
gap = "100 us"
coding = "amplitude"
"""


def instrument(name, driver, trigger=None, settings=""):
    extra = f'trigger = "{trigger}"\n' if trigger else ""
    extra += f"settings = {{ {settings} }}\n" if settings else ""
    return (
        f'[[instrument]]\nname = "{name}"\ndriver = "{driver}"\n{extra}'
        'resource = "TCPIP0::127.0.0.1::1::SOCKET"\n'
    )


def span(group, count, first, channels, crosspoint):
    """Return the wiring of lines ``group0`` ...; they begin at matrix column ``first``."""
    out = []
    line = 0
    while line < count:
        column = first + line
        n = min(count - line, 12 - (column - 1) % 12)  # a card has 12 columns
        out += [
            f'[[wiring]]\nline = "{group}{line}:{n}"\nchannel = "{channel}"\n'
            f'crosspoint = "mux/{crosspoint(row, column)}"\n'
            for row, channel in enumerate(channels)
        ]
        line += n
    return "".join(out)


def k707(row, column):
    card, within = divmod(column - 1, 12)
    return f"{card + 1}{'ABCDEFGH'[row]}{within + 1:02d}"


def b2200(row, column):
    return f"0{row + 1:02d}{column:02d}"


def station_a(rows=4, cols=4, device="nonlinear", smu="keithley-2600b", mux="keithley-707b"):
    point = b2200 if mux == "keysight-b2200a" else k707
    channels = ["smu.a", "smu.b"] if "2600" in smu else ["smu.1", "smu.2"]
    channels.append("common")
    return (
        HEAD.format(rows=rows, cols=cols, device=device)
        + instrument("smu", smu) + instrument("mux", mux)
        + span("WL", rows, 1, channels, point) + span("BL", cols, rows + 1, channels, point)
    )  # fmt: skip


def station_b(rows=4, cols=4, device="nonlinear", gen="keysight-81160a"):
    channels = ["gen.1", "gen.2", "smu.a", "smu.b", "common"]
    return (
        HEAD.format(rows=rows, cols=cols, device=device)
        + instrument("gen", gen, settings='load = "inf"' if "81160" in gen else "")
        + instrument("smu", "keithley-2600b")
        + instrument("mux", "keithley-707b")
        + span("WL", rows, 1, channels, k707) + span("BL", cols, rows + 1, channels, k707)
    )  # fmt: skip


def station_c(rows=3, cols=3, device="nonlinear"):
    names = [f"WL{k}" for k in range(rows)] + [f"BL{k}" for k in range(cols)]
    nodes = sorted({k // 2 for k in range(len(names))})
    return (
        HEAD.format(rows=rows, cols=cols, device=device)
        + "".join(instrument(f"node{n}", "keithley-2600b", "3") for n in nodes)
        + "".join(f'[[wiring]]\nline = "{name}"\nchannel = "node{k // 2}.{"ab"[k % 2]}"\n'
                  for k, name in enumerate(names))
    )  # fmt: skip


def station_d(rows=4, cols=4, device="nonlinear"):
    channels = ["smu.a", "smu.b", "bias.a", "bias.b", "common"]
    return (
        HEAD.format(rows=rows, cols=cols, device=device)
        + instrument("smu", "keithley-2600b", "3") + instrument("bias", "keithley-2600b", "3")
        + instrument("mux", "keithley-707b")
        + span("WL", rows, 1, channels, k707) + span("BL", cols, rows + 1, channels, k707)
    )  # fmt: skip


STATIONS = {"a": station_a, "b": station_b, "c": station_c, "d": station_d}


def station_of(text) -> Station:
    return validate_text(text, Station, "station.toml")


@contextmanager
def on_bench(station, seed=0, limits=None, **options):
    """Yield (closed backend, bench): the station's instruments emulated over TCP."""
    with load("hil.benches", "virtual")(station, seed=seed, **options) as bench:
        moved = station.at(bench.resources)
        if limits is not None:
            moved = Limited(moved, limits)
        yield (
            RigFactory().create(moved, moved.array[0], seed=seed, virtual=True, wait=bench.dwell),
            bench,
        )


class Limited:
    """A station with limits given as they are."""

    def __init__(self, station, limits):
        self._station, self._limits = station, limits

    def __getattr__(self, name):
        return getattr(self._station, name)

    @property
    def limits(self):
        return SimpleNamespace(limits=lambda: self._limits)
