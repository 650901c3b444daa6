"""Characterises small arrays in this process."""

from __future__ import annotations

from pathlib import Path

from hil.characterise.run import Choice, open_characteriser
from hil.characterise.suite import load_suite
from hil.control.session import open_session

STATION = """
schema = 1
name = "bench"
[[array]]
rows = 4
cols = 6
device = "{device}"
[limits]
level = ["-2.5 V", "2.5 V"]
device_voltage = ["-2.5 V", "2.5 V"]
"""

SUITE = """
schema = 1
name = "short"
[[part]]
name = "noise"
protocol = "read-noise"
set = { reads = 6 }
[[part]]
name = "curves"
protocol = "ltp-ltd"
set = { cycles = 2, pulses = 30, order = "interleaved" }
[[part]]
name = "map"
protocol = "pulse-map"
sample = 3
set = { reset_pulses = 10 }
optional = true
[[part]]
name = "disturb"
protocol = "half-select-disturb"
cells = "neighbours"
set = { pulses = 40, read_every = 20 }
[[part]]
name = "end"
protocol = "endurance"
sample = 2
set = { cycles = 40 }
"""

#: The filamentary preset, of which some devices do not move.
STUCK = """
schema = 1
name = "partly"
description = "a device of which some are stuck"
provenance = "no device"
cell = "1R"
model = "exponential"
[range]
g_min = "1 uS"
g_max = "100 uS"
[potentiation]
states = 40
nu = 1.0
[depression]
states = 40
nu = 1.0
[pulse]
potentiate_voltage = "2 V"
depress_voltage = "-2 V"
width = "1 us"
law = "power"
potentiate_threshold = "1.2 V"
depress_threshold = "-1.2 V"
[variation]
step_c2c = 0.02
{more}
[drive]
{window}
read_voltage = "0.2 V"
potentiate_voltage = "2 V"
depress_voltage = "-2 V"
write_width = "1 us"
inhibit = "v/2"
"""


class Told:
    """What a characterisation said."""

    def __init__(self, stop_in=None, backend=None) -> None:
        self.begun, self.ended, self.blocks = [], [], 0
        self._stop_in, self._backend = stop_in, backend

    def part_begins(self, plan, run):
        self.begun.append(plan.name)

    def block_done(self, plan, block):
        self.blocks += 1
        if plan.name == self._stop_in and self.blocks > 10:
            self._backend.request_stop()

    def part_ended(self, plan, left_out, left):
        self.ended.append(plan.name)

    def check(self):
        pass


def lab(
    folder: Path, suite: str = SUITE, device: str = "nonlinear", more: str = "",
    window: str = 'g_min = "1 uS"\ng_max = "100 uS"', station: str = STATION,
) -> Path:  # fmt: skip
    """Write the files of a characterisation into ``folder``."""
    (folder / "suite.toml").write_text(suite)
    if more or window.startswith("#"):
        device = "device.toml"
        text = STUCK.replace("{more}", more).replace("{window}", window)
        (folder / "device.toml").write_text(text)
    (folder / "station.toml").write_text(station.replace("{device}", device))
    return folder


def go(folder: Path, *, stop_in=None, told=None, sim=True, **choice):
    """Characterise; return (plans, what was told, index)."""
    suite = load_suite(choice.pop("suite", folder / "suite.toml"))
    out = choice.pop("out", folder / "runs")
    with open_session(folder / "station.toml", sim=sim, seed=choice.pop("seed", 5), out=out) as s:
        backend = next(iter(s.backends.values()))
        told = told or Told(stop_in, backend)
        with open_characteriser(Choice(s, None, suite, **choice)) as work:
            plans = work.plans()
            work.run(told)
            return plans, told, work.folder.index
