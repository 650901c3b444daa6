"""A characterisation of devices that do not go back, killed in the middle of a part."""

from __future__ import annotations

import os

import pytest
from lasting import Devices, LastingFactory, die_at, loading

from hil.cli.main import main
from hil.record import open_run
from hil.record.characterisation import open_characterisation

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the process ends itself by SIGKILL")

STATION = """
schema = 1
name = "lab"
backend = "lasting"
[[array]]
rows = 4
cols = 4
device = "nonlinear"
"""
SUITE = """
schema = 1
name = "two"
[[part]]
name = "curves"
protocol = "ltp-ltd"
set = { cycles = 1, pulses = 8 }
[[part]]
name = "end"
protocol = "endurance"
set = { cycles = 5 }
"""


def test_the_open_part_goes_on_and_no_pulse_of_it_is_sent_twice(tmp_path, monkeypatch, capsys):
    (tmp_path / "station.toml").write_text(STATION)
    (tmp_path / "suite.toml").write_text(SUITE)
    run = die_at(tmp_path, "suite.toml", 9, "after")
    path = tmp_path / "runs" / "characterisations" / "lab-main-two"
    index = open_characterisation(path)
    assert [len(part.runs) for part in index.parts] == [1, 0]
    assert index.parts[0].run is None
    devices = Devices(tmp_path / "devices.npz")
    monkeypatch.setattr("hil.registry.load", loading(LastingFactory(devices)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["characterise", "station.toml", "--suite", "suite.toml"])
    assert ended.value.code == 0
    assert f"going on with the open part: {run.resolve()}" in capsys.readouterr().out
    index = open_characterisation(path)
    assert [len(part.runs) for part in index.parts] == [1, 1]
    assert all(open_run(part.run).status == "done" for part in index.parts)
    received = devices.ledger.selected()
    assert (received <= 16 + 10).all()
    assert (received >= 16 + 10 - 1).all()  # one pulse may not have been sent: it is not repeated
