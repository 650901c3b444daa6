"""Makes runs for the tests of reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hil.config.station import load_station
from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.session import open_session
from hil.record import CommitPolicy, RunFolder

#: A name that would be markup if it were not text.
HOSTILE = "<script>alert('x')</script> & <b>bold</b> $\\frac$"
STATION = f"""
schema = 1
name = {json.dumps(HOSTILE)}
chip = "W12-D34"
[[array]]
rows = 6
cols = 4
device = "nonlinear"
[limits]
level = ["-2.5 V", "2.5 V"]
device_voltage = ["-2.5 V", "2.5 V"]
half_select = "1.2 V"
[[instrument]]
name = "smu"
driver = "keithley-2600b"
resource = "TCPIP0::192.168.0.5::5025::SOCKET"
[[instrument]]
name = "mux"
driver = "keithley-707b"
resource = "TCPIP0::192.168.0.6::5025::SOCKET"
[[wiring]]
line = "WL0:6"
channel = "smu.a"
crosspoint = "mux/1A01"
[[wiring]]
line = "BL0:4"
channel = "smu.b"
crosspoint = "mux/1B07"
"""
BIG = STATION.replace("rows = 6\ncols = 4", "rows = 70\ncols = 20").split("[[instrument]]")[0]
PROTOCOLS = {
    "ltp": 'kind = "ltp-ltd"\nsample = 3\ncycles = 4\npulses = 12\nread_every = 2\n',
    "iv": 'kind = "iv-sweep"\nsample = 2\nthere_and_back = true\n',
    "retention": 'kind = "retention"\nsample = 5\npotentiate_pulses = 9\ntimes = ["1 s", "9 s"]\n',
    "endurance": 'kind = "endurance"\nsample = 5\ncycles = 30\npulses = 4\n',
    "disturb": 'kind = "half-select-disturb"\naggressor = [2, 1]\npulses = 50\nread_every = 10\n',
    "pulse-map": 'kind = "pulse-map"\nsample = 2\npulses = 3\n',
    "verify": 'kind = "write-verify"\n',
}
TRAINING = """
schema = 1
name = "short"
[network]
hidden = []
weight_scales = [4.0]
[schedule]
epochs = 2
samples = 40
[characterise]
devices = 2
pulses = 32
"""


class Library:
    """Runs in a folder, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        """Return a run that stays as it is."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def copy(self, name: str, to: Path) -> Path:
        """Return a copy of a run to be broken."""
        return Path(shutil.copytree(self[name], to / self[name].name))

    def _make(self, name: str) -> Path:
        station = self.root / f"{name}.station.toml"
        station.write_text(BIG if name == "train" else STATION, encoding="utf-8")
        with open_session(load_station(station), sim=True, out=self.root / name) as session:
            if name == "train":
                return session.train(validate_text(TRAINING, Training)).run
            protocol = self.root / f"{name}.toml"
            protocol.write_text(f"schema = 1\nname = '{name}'\n{PROTOCOLS[name]}")
            return session.run_protocol(protocol).run


def crash(run: Path) -> Path:
    """Take from a run what is written at its end only; return its folder."""
    (run / "stop.json").unlink()
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    at_the_end = (b'"result"', b'"stop"', b'"checkpoint"')
    kept = [line for line in lines if not any(b'"kind": ' + k in line for k in at_the_end)]
    assert len(kept) < len(lines)
    (run / "events.jsonl").write_bytes(b"".join(kept))
    shutil.rmtree(run / "checkpoints")
    return run


def empty_run(root: Path, name: str = "hand made", **changes) -> RunFolder:
    """Return a run to record into that seals nothing."""
    arguments = {"kind": "run", "backend": "bench", "simulated": False,
                 "policy": CommitPolicy(seal_running=False, seal_share=0.0), **changes}  # fmt: skip
    return RunFolder.create(root, name, **arguments)
