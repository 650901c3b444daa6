"""Stations of the four rig kinds for the virtual bench."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hil_drivers.factory import RigFactory

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.placement import Site, build_network
from hil.control.training import train
from hil.datasets.dataset import Dataset
from hil.datasets.sources import load_digits
from hil.phases.reading import read_map
from hil.phases.verify_settings import WriteVerify
from hil.registry import load

#: A device without noise, for pulses of 200 us.
SLOW = str(Path(__file__).with_name("slow.toml"))
#: The end of a station file whose simulator obeys the rig.
AS_RIG = "[twin]\nas_rig = true\n"
#: Pulses cross the range in 64, along a curve.
CURVED = [('model = "linear"', 'model = "exponential"'), ("states = 256", "states = 64\nnu = 2.0")]
#: Two ways to write and verify.
SETTINGS = {
    "bursts": WriteVerify(tolerance_fraction=0.01),
    "ispp": WriteVerify(tolerance_fraction=0.01, strategy="ispp", hold=1),
}

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


def instrument(
    name, driver, trigger=None, settings="", resource="TCPIP0::127.0.0.1::1::SOCKET"
):  # fmt: skip
    extra = f'trigger = "{trigger}"\n' if trigger else ""
    extra += f"settings = {{ {settings} }}\n" if settings else ""
    return f'[[instrument]]\nname = "{name}"\ndriver = "{driver}"\n{extra}resource = "{resource}"\n'


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


@cache
def few_digits(features, classes, samples, test_samples=20):
    """Return the first classes of the digits as ones and zeros of the pixels that differ most.

    The 8 x 8 images are averaged to 4 x 4 and cut at a half, so that all driven rows have one level
    and a rig can read them at once.
    """
    digits = load_digits()
    pooled = [
        x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(x), -1) > 0.5
        for x in (digits.x_train, digits.x_test)
    ]
    wanted = [y < classes for y in (digits.y_train, digits.y_test)]
    train, test = (x[w].astype(float) for x, w in zip(pooled, wanted, strict=True))
    chosen = np.sort(np.argsort(-train.var(axis=0), kind="stable")[:features])
    return Dataset.checked(
        "few digits", train[:samples, chosen], digits.y_train[wanted[0]][:samples],
        test[:test_samples, chosen], digits.y_test[wanted[1]][:test_samples], n_classes=classes,
    )  # fmt: skip


def written(backend, op, settings):
    """Return the outcome of writing targets on the diagonal, and the whole array then."""
    array = SynapseArray(backend, op)
    shape = backend.geometry.shape
    targets = np.linspace(1e-5, 9e-5, shape[0] * shape[1]).reshape(shape)
    with backend:
        outcome = array.write(targets, mask=np.eye(*shape) == 1, settings=settings).outcome
        return {**outcome, "g_read_siemens": array.read()}


def train_on(backend, op, method, digits, hidden=()):
    """Train one epoch on a backend; return what was counted, and the array as read afterwards."""
    training = Training.model_validate({
        "schema": 1, "seed": 4, "baseline": False, "network": {"hidden": hidden},
        "rule": {"method": method},
        "refresh": {"every": 50, "threshold": 0.4, "floor": 0.1} if method == "M3" else None,
        "schedule": {"epochs": 1}, "characterise": {"devices": 1, "pulses": 64},
    })  # fmt: skip
    with backend:
        network = build_network(training, digits, [Site(backend, op)])
        result = train(training, digits, network)
        (epoch,) = result.history.epochs
        counted = {name: getattr(epoch, name) for name in epoch.__slots__ if name != "seconds"}
        counted["initial_pulses"] = result.initial_pulses
        counted["ledger_pulses"] = backend.ledger.device_pulses
        return counted, network.layers[0].read()


STATIONS = {"a": station_a, "b": station_b, "c": station_c, "d": station_d}


def station_of(text) -> Station:
    return validate_text(text, Station, "station.toml")


def off_grid(text):
    """Return a station whose write pulses are on the grid of no instrument.

    A 2600B has 1 us; an 81160A 1 mV, and 14 bits of that in waveforms.
    """
    return (
        text.replace('write_width = "200 us"', 'write_width = "200.4 us"')
        .replace('potentiate_voltage = "1.5 V"', 'potentiate_voltage = "1.5004 V"')
        .replace('depress_voltage = "-1.5 V"', 'depress_voltage = "-1.4996 V"')
    )


def device_file(folder, changes, name="device.toml"):
    """Write the device without noise, with (old, new) texts changed; return the path."""
    text = Path(SLOW).read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return str(path)


def meters_of(station):
    """Return (range_a, resolution_a) of everything that a read map of the station measures."""
    rig = RigFactory().rehearse(station, station.array[0])
    rows, cols = (np.arange(n) for n in rig.geometry.shape)
    op = station.drive.operating_point()
    return {
        (meter.range_a, meter.can.resolution_a(meter.range_a))
        for block in read_map(rig.geometry, op, rig.capabilities, rows, cols)
        for meter in rig.rehearse(block).meters
    }


@contextmanager
def on_bench(station, seed=0, limits=None, wire_log=None, **options):
    """Yield (closed backend, bench): the station's instruments emulated over TCP."""
    with load("hil.benches", "virtual")(station, seed=seed, **options) as bench:
        moved = station.at(bench.resources)
        if limits is not None:
            moved = Limited(moved, limits)
        yield (
            RigFactory().create(
                moved, moved.array[0], seed=seed, virtual=True, wait=bench.dwell, wire_log=wire_log
            ),
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
