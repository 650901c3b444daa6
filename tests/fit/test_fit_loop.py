"""The whole loop: a known device through pulses, recorded, fitted, simulated again."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import bench, hil_json, run

from hil.control.twin_response import twin_response

CASES = {
    "exponential": {
        "model": "exponential", "potentiation": "states = 48\nnu = 2.0",
        "depression": "states = 40\nnu = 4.0",
        "variation": "step_d2d = 0.1\nstep_c2c = 0.15\nread_noise = 0.003",
    },
    "soft-bounds": {
        "model": "soft-bounds", "potentiation": "states = 25\nslope = 0.9",
        "depression": "states = 20\nslope = 0.95",
        "variation": "step_d2d = 0.08\nrange_c2c = 0.02\nread_noise = 0.003",
    },
}  # fmt: skip


@pytest.fixture(
    scope="module", params=["exponential", pytest.param("soft-bounds", marks=pytest.mark.slow)]
)
def loop(request, tmp_path_factory):
    """(folder, JSON of the fit) of an 11 × 11 array in 4 cycles of 64 pulses."""
    folder = bench(tmp_path_factory.mktemp("loop"), rows=11, cols=11, **CASES[request.param])
    curves = run(folder, "ltp-ltd", cycles=4, pulses=64)
    found = hil_json("fit", curves, "-o", "fitted.toml", "--bootstrap", 20, cwd=folder)
    return folder, found


def curves_of(path, seed):
    """Return (pulses, devices × cycles) of other devices of the same kind."""
    found = twin_response(path, pulses=64, cycles=3, rows=16, cols=16, seed=seed)
    g = found["g_siemens"].reshape(3, 129, -1)[1:]
    return g.transpose(1, 0, 2).reshape(129, -1)


def test_the_fitted_device_responds_as_the_known_one_did(loop):
    """Mean curve within 1.5 % of the window at every pulse, spread within 10 % over all."""
    folder, _ = loop
    known, fitted = (curves_of(folder / f, seed=9) for f in ("known.toml", "fitted.toml"))
    window = np.ptp(known.mean(axis=1))
    assert np.abs(known.mean(axis=1) - fitted.mean(axis=1)).max() < 0.015 * window
    spreads = [np.sqrt(np.mean(g.var(axis=1))) for g in (known, fitted)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.10)


def test_single_steps_have_the_same_mean_and_spread(loop):
    """What a pulse does from a given conductance on: mean within 3 %, spread within 15 %."""
    folder, _ = loop
    known, fitted = (curves_of(folder / f, seed=9) for f in ("known.toml", "fitted.toml"))
    for first, last in ((1, 20), (65, 80)):
        steps = [np.diff(g[first:last], axis=0) for g in (known, fitted)]
        assert steps[1].mean() == pytest.approx(steps[0].mean(), rel=0.03)
        assert steps[1].std() == pytest.approx(steps[0].std(), rel=0.15)


def test_the_command_says_how_well_the_twin_agrees(loop):
    _, found = loop
    assert found["twin"]["median"] < 0.02
    assert found["twin"]["spread"] == pytest.approx(1.0, abs=0.15)


def test_a_device_with_other_parameters_would_be_seen(loop):
    """The comparison is able to fail: a tenth fewer states is outside."""
    folder, _ = loop
    text = (folder / "known.toml").read_text(encoding="utf-8")
    for states in ("48", "25"):
        text = text.replace(f"states = {states}\n", f"states = {int(states) * 0.9}\n")
    (folder / "other.toml").write_text(text, encoding="utf-8")
    known, other = (curves_of(folder / f, seed=9) for f in ("known.toml", "other.toml"))
    window = np.ptp(known.mean(axis=1))
    assert np.abs(known.mean(axis=1) - other.mean(axis=1)).max() > 0.015 * window


def test_a_look_up_table_responds_as_the_device_did(loop):
    """Straight from the data, no curve assumed: mean within 3 % of the window, spread 15 %."""
    folder, found = loop
    run_folder = folder / found["runs"][0]["path"]
    hil_json("fit", run_folder, "-o", "table.toml", "--model", "lookup", "--bootstrap", 0,
             "--force", cwd=folder)  # fmt: skip
    known, table = (curves_of(folder / f, seed=9) for f in ("known.toml", "table.toml"))
    window = np.ptp(known.mean(axis=1))
    assert np.abs(known.mean(axis=1) - table.mean(axis=1)).max() < 0.03 * window
    spreads = [np.sqrt(np.mean(g.var(axis=1))) for g in (known, table)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.15)
