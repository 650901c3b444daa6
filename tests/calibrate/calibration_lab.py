"""A lab with a rig of 100 kohm resistors, for commands that calibrate and probe it."""

from __future__ import annotations

import json

from hil.cli.commands.init import starter_files
from hil.registry import BENCHES, load

TWIN = "\n[twin]\nimperfect = true\nseed = 7\n"
TRUE_SIEMENS = 1e-5  # every device of the array is a 100 kohm resistor


def station_text(calibration=None, twin=TWIN, extra=""):
    """Return the station of a rig of 2 x 3 devices of 100 kohm."""
    text = starter_files(rig=True)["station.toml"]
    text = text.replace('device = "device.toml"', 'device = "kilo.toml"')
    text = text.replace('g_min = "1 uS"', 'g_min = "10 uS"').replace(
        "rows = 4\ncols = 4", "rows = 2\ncols = 3"
    )
    text = text.replace('"WL0:4"', '"WL0:2"').replace('"BL0:4"', '"BL0:3"')
    first = f'schema = 1\ncalibration = "{calibration}"\n' if calibration else "schema = 1\n"
    return text.replace("schema = 1\n", first + extra, 1) + twin


def changed(text, *path, to):
    values = json.loads(text)
    at = values
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return json.dumps(values)


class Wrapped:
    """The virtual bench, kept for a look afterwards; ``connect`` changes what is connected."""

    def __init__(self, monkeypatch, connect=lambda bench, g: g, prepare=lambda bench: None):
        import hil.control.bench as module

        def make(station, **options):
            self.bench = load(BENCHES, "virtual")(station, **options)
            insert = self.bench.insert
            self.bench.insert = lambda name, g: insert(name, connect(self.bench, g))
            prepare(self.bench)
            return self.bench

        monkeypatch.setattr(module, "load", lambda group, name: make)
