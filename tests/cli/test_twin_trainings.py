"""`hil train --sim` and `hil train --virtual` with one station file that lets the twin obey."""

from __future__ import annotations

import numpy as np
import pytest
from command import hil_json, write

from hil.cli.commands.init import starter_files
from hil.record import open_run

pytest.importorskip("lupa")

DEVICE = """
schema = 1
name = "noisy"
description = "for pulses of 200 us"
provenance = "no device: an ideal with variation"
cell = "1R"
model = "exponential"
[range]
g_min = "1 uS"
g_max = "100 uS"
[potentiation]
states = 40
nu = 2.0
[depression]
states = 40
nu = 2.0
[pulse]
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
width = "200 us"
law = "power"
potentiate_threshold = "1 V"
depress_threshold = "-1 V"
[variation]
step_d2d = 0.1
step_c2c = 0.05
[drive]
read_voltage = "0.2 V"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
"""

TRAINING = """
schema = 1
name = "twin"
baseline = false
[dataset]
kind = "npz"
file = "data.npz"
[network]
hidden = []
[refresh]
every = 10
threshold = 0.2
floor = 0.02
[schedule]
epochs = 1
[characterise]
devices = 2
pulses = 40
"""


@pytest.fixture
def lab(tmp_path):
    station = starter_files(rig=True)["station.toml"]
    write(tmp_path, "station.toml", station + "\n[twin]\nas_rig = true\n")
    write(tmp_path, "device.toml", DEVICE)
    write(tmp_path, "training.toml", TRAINING)
    x = np.random.default_rng(0).random((40, 3)).round(1)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    np.savez(tmp_path / "data.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    return tmp_path


def trained(lab, how):
    """Return the outcome of a training and what its run folder keeps."""
    found = hil_json("train", "training.toml", "-s", "station.toml", how, "--seed", "3", cwd=lab)
    run = open_run(lab / found["run"])
    assert run.verify() == ()
    return found, run


def test_trainings_on_twin_and_bench_leave_the_same_conductances_in_their_runs(lab):
    sim, sim_run = trained(lab, "--sim")
    rig, rig_run = trained(lab, "--virtual")
    assert (sim_run.manifest["backend"], rig_run.manifest["backend"]) == (
        "sim", "rig on the virtual bench",
    )  # fmt: skip
    assert "obeys rehearsed rig" in sim_run.manifest["meta"]["identity"]
    assert sim["pulses"] == rig["pulses"]
    assert sim["pulses"]["refresh"] > 0
    twin, bench = (np.load(run.path / "checkpoints" / "ledger-main.npz")
                   for run in (sim_run, rig_run))  # fmt: skip
    assert np.isfinite(twin["g_last_siemens"]).all()
    for name in twin.files:
        np.testing.assert_array_equal(bench[name], twin[name], err_msg=name)
