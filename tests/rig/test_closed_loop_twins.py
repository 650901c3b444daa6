"""Twin equality, closed loop: a simulator that obeys the rig decides pulse for pulse as the rig."""

from __future__ import annotations

import numpy as np
import pytest
from benches import (
    AS_RIG,
    CURVED,
    SETTINGS,
    STATIONS,
    device_file,
    few_digits,
    off_grid,
    on_bench,
    station_of,
    train_on,
    written,
)

from hil.config.training import Training
from hil.control.opening import make_backend
from hil.control.placement import Site, build_network
from hil.control.training import train
from hil.errors import ConfigError

pytest.importorskip("lupa")

KINDS = ["a", "b", "c", "d"]
ROWS, COLS = 10, 4
#: One count of a meter's 100 uA range at 0.2 V.
RESOLUTION_SIEMENS = 5e-10


def station_text(kind, folder, rows=None, cols=None):
    size = () if rows is None else (rows, cols)
    return off_grid(STATIONS[kind](*size, device=device_file(folder, CURVED)))


def simulated(text, seed=9):
    station = station_of(text)
    return make_backend(station, station.array[0], sim=True, seed=seed)


@pytest.mark.parametrize(
    ("kind", "how"),
    [("a", "bursts"), ("b", "ispp"), ("c", "bursts"), ("d", "ispp"),
     *(pytest.param(kind, how, marks=pytest.mark.slow)
       for kind, how in [("a", "ispp"), ("b", "bursts"), ("c", "ispp"), ("d", "bursts")])],
)  # fmt: skip
def test_write_verify_decides_as_on_the_rig(kind, how, tmp_path):
    text = station_text(kind, tmp_path)
    sim, op = simulated(text + AS_RIG)
    expected = written(sim, op, SETTINGS[how])
    with on_bench(station_of(text), seed=9) as (rig, bench):
        found = written(rig, op, SETTINGS[how])
        true = bench.array.conductance_siemens()
    assert set(found) - {"lowering"} == set(expected) - {"lowering"}
    for name in set(expected) - {"lowering"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert rig.ledger.device_pulses == sim.ledger.device_pulses > 30
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-12)
    plain = written(*simulated(text), SETTINGS[how])
    apart = np.abs(plain["g_read_siemens"] - found["g_read_siemens"]).max()
    assert apart > 4 * RESOLUTION_SIEMENS, "the simulator need not obey the rig at all"


@pytest.mark.parametrize(
    ("kind", "method"),
    [("a", "M3"), ("b", "M1"), *(pytest.param(kind, method, marks=pytest.mark.slow)
     for kind, method in [("a", "M1"), ("b", "M3"), ("c", "M3"), ("c", "M1"), ("d", "M3"),
                          ("d", "M1")])],
)  # fmt: skip
def test_a_training_of_200_samples_ends_where_it_ends_on_the_rig(kind, method, tmp_path):
    text = station_text(kind, tmp_path, ROWS, COLS)
    digits = few_digits(features=ROWS - 1, classes=COLS // 2, samples=200)
    sim, op = simulated(text + AS_RIG)
    expected, g_expected = train_on(sim, op, method, digits)
    with on_bench(station_of(text), seed=9) as (rig, bench):
        found, g_found = train_on(rig, op, method, digits)
        true = bench.array.conductance_siemens()
    assert found == expected
    assert np.array_equal(g_found, g_expected)
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-12)
    assert expected["write_pulses"] > 500
    assert (expected["refresh_pulses"] > 0) == (method == "M3")
    assert expected["test_accuracy"] > 0.8
    _, g_other = train_on(*simulated(text), method, digits)
    assert not np.array_equal(g_other, g_expected), "the simulator need not obey the rig at all"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_errors_sent_back_through_a_hidden_layer_are_those_of_the_rig(kind, tmp_path):
    text = station_text(kind, tmp_path, 9, 6)
    digits = few_digits(features=4, classes=2, samples=40)
    sim, op = simulated(text + AS_RIG)
    expected, g_expected = train_on(sim, op, "M1", digits, hidden=(3,))
    with on_bench(station_of(text), seed=9) as (rig, _):
        found, g_found = train_on(rig, op, "M1", digits, hidden=(3,))
    assert found == expected
    assert np.array_equal(g_found, g_expected)


@pytest.mark.parametrize("kind", ["c", pytest.param("b", marks=pytest.mark.slow)])
def test_the_noise_of_a_pulse_is_the_same_on_the_rig(kind, tmp_path):
    noise = ("[current]", "[variation]\nstep_d2d = 0.1\nstep_c2c = 0.05\n[current]")
    text = off_grid(STATIONS[kind](device=device_file(tmp_path, [*CURVED, noise])))
    expected = written(*simulated(text + AS_RIG), SETTINGS["bursts"])
    with on_bench(station_of(text), seed=9) as (rig, _):
        found = written(rig, simulated(text)[1], SETTINGS["bursts"])
    for name in ("pulses", "g_read_siemens"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    other = written(*simulated(text + AS_RIG, seed=10), SETTINGS["bursts"])
    assert (other["pulses"] != found["pulses"]).any()


def test_a_mimicked_training_shows_another_order_of_steps(tmp_path):
    """Negative control: same meters, but one line after the other in place of all at once.

    Errors sent back have several levels; rounded level by level they add up to other sums.
    """
    digits = few_digits(features=4, classes=2, samples=20)
    (one, _), (other, _) = (
        train_on(*simulated(station_text(kind, tmp_path, 9, 6) + AS_RIG), "M1", digits, (3,))
        for kind in ("a", "c")
    )
    assert one != other


def test_a_mimicked_training_shows_a_wrong_quantiser(tmp_path):
    """Negative control: with the meter of another instrument the same test fails."""
    digits = few_digits(features=4, classes=2, samples=50)
    found = []
    for smu in ("keithley-2600b", "keysight-b2900"):
        text = STATIONS["a"](5, 4, device=device_file(tmp_path, CURVED), smu=smu)
        found.append(train_on(*simulated(off_grid(text) + AS_RIG), "M3", digits))
    (one, g_one), (other, g_other) = found
    assert one != other
    assert not np.array_equal(g_one, g_other)


def test_a_mimicked_rig_does_not_stand_beside_grids(tmp_path):
    text = station_text("a", tmp_path) + AS_RIG
    with pytest.raises(ConfigError, match="leave out the twin's"):
        simulated(text + 'level_resolution = "1 mV"\n')
    with pytest.raises(ConfigError, match="backend 'sim' does not say"):
        simulated('backend = "sim"\n' + text)


def test_a_mimicking_simulator_says_whom_it_obeys(tmp_path):
    text = station_text("a", tmp_path)
    assert simulated(text + AS_RIG)[0].identify().endswith(", obeys rehearsed rig")
    assert "obeys" not in simulated(text)[0].identify()


METHODS = ["M1", "M2", "M3", "M3'", "M3c", "progressive", "tiki-taka", "manhattan", "threshold",
           "direct-gradient", "weight-transfer"]  # fmt: skip
#: Settings that let a method do all that it does within a few samples.
QUICK = {
    "M3": {"refresh": {"every": 10, "threshold": 0.4, "floor": 0.1}},
    "M3'": {"refresh": {"every": 10, "threshold": 0.4, "floor": 0.1}},
    "M3c": {"refresh": {"every": 10, "threshold": 0.4, "floor": 0.1, "exchange_every": 10}},
    "tiki-taka": {"rule": {"tiki_taka": {"symmetry_pulses": 20}}},
    "manhattan": {"rule": {"manhattan": {"batch": 4}}},
    "threshold": {"rule": {"threshold": {"threshold": 2.0}}},
    "direct-gradient": {"rule": {"direct_gradient": {"batch": 4}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_through_the_drivers_to_its_end(method, tmp_path):
    more = QUICK.get(method, {})
    training = Training.model_validate({
        "schema": 1, "seed": 4, "baseline": False, "network": {"hidden": [3]},
        "rule": {"method": method, **more.get("rule", {})}, "refresh": more.get("refresh"),
        "schedule": {"epochs": 1, "eta": 0.2}, "characterise": {"devices": 2, "pulses": 64},
    })  # fmt: skip
    digits = few_digits(features=4, classes=2, samples=20)
    size = (18, 6) if method == "tiki-taka" else (9, 6)
    with on_bench(station_of(station_text("a", tmp_path, *size)), seed=9) as (rig, bench):
        op = simulated(station_text("a", tmp_path, *size))[1]
        with rig:
            before = bench.array.conductance_siemens()
            network = build_network(training, digits, [Site(rig, op)])
            result = train(training, digits, network)
            moved = bench.array.conductance_siemens() != before
    (epoch,) = result.history.epochs
    assert np.isfinite(epoch.test_accuracy)
    assert np.isfinite(epoch.train_loss)
    assert epoch.write_pulses > 0
    if method in ("M3c", "direct-gradient"):  # exchanges and perturbations count as refresh
        assert epoch.refresh_pulses > 0
    assert moved.any()
