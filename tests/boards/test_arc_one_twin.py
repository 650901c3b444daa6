"""Twin equality: the same programmes on the simulator and on an emulated ArC ONE."""

from __future__ import annotations

import numpy as np
import pytest
from arc_bench import on_bench, station_of, text_of
from benches import AS_RIG, CURVED, SETTINGS, device_file, few_digits, train_on, written

from hil.control.array import SynapseArray
from hil.control.opening import default_pairs, make_backend

PROTOCOLS = {
    "read-map": 'kind = "read-map"\n',
    "ltp-ltd": 'kind = "ltp-ltd"\ncells = [[0, 1], [1, 0]]\ncycles = 1\npulses = 10\n'
    'together = "cell"\n',
    "forward": 'kind = "forward"\npattern = "identity"\noutput = "conductance"\n',
    "backward": 'kind = "backward"\npattern = "identity"\noutput = "conductance"\n',
    "refresh": 'kind = "refresh"\nthreshold = 0.01\nmax_pulses = 30\nverify_repeat = 1\n',
    "update": 'kind = "update"\nx = [0.5]\nd = [0.5]\nslots = 20\nread_every = 10\n'
    'method = "potentiate"\n',
}
#: Resistances travel as 32-bit floats: a share of 6e-8, twice where two are subtracted.
SHARE = 2e-7


def simulated(text, seed=4):
    station = station_of(text)
    return make_backend(station, station.array[0], sim=True, seed=seed)


def run(backend, op, protocol, tmp_path):
    """Return (outcome, readings of the whole array afterwards)."""
    path = tmp_path / "protocol.toml"
    path.write_text("schema = 1\n" + PROTOCOLS[protocol])
    array = SynapseArray(backend, op, default_pairs(backend))
    with backend:
        counts = np.arange(backend.geometry.n_rows * backend.geometry.n_cols) * 3
        array.program(counts.reshape(backend.geometry.shape))
        return array.run(path).outcome, array.read()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_board_and_simulator_give_the_same_conductances(protocol, tmp_path):
    text = text_of()
    sim, op = simulated(text)
    outcome, expected = run(sim, op, protocol, tmp_path)
    with on_bench(text) as (board, bench, emulated):
        board_outcome, found = run(board, op, protocol, tmp_path)
        true = bench.array.conductance_siemens()
        assert not emulated.initialised
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-9)
    assert np.unique(true).size > 2, "nothing was written, or everything saturated"
    assert board.ledger.device_pulses == sim.ledger.device_pulses > 0
    assert found == pytest.approx(expected, rel=SHARE, abs=1e-15)
    assert set(board_outcome) - {"lowering"} == set(outcome) - {"lowering"}
    for name, values in outcome.items():
        if name.endswith("_siemens"):
            # A difference is as exact as the conductances that it is of.
            assert np.asarray(board_outcome[name]) == pytest.approx(
                np.asarray(values), rel=SHARE, abs=1e-4 * SHARE, nan_ok=True
            ), name


def varied(folder, rows, cols):
    """Return a station of varied devices and pulses that no text of few digits says exactly."""
    spread = ("[current]", "[variation]\nstep_d2d = 0.1\nstep_c2c = 0.05\n[current]")
    device = device_file(folder, [*CURVED, spread])
    return text_of(rows, cols, device).replace('"200 us"', '"200.123456789012 us"')


@pytest.mark.parametrize("how", SETTINGS)
def test_write_verify_decides_on_a_mimicking_simulator_as_on_the_board(how, tmp_path):
    text, settings = varied(tmp_path, 3, 3), SETTINGS[how]
    sim, op = simulated(text + AS_RIG)
    expected = written(sim, op, settings)
    with on_bench(text) as (board, bench, _):
        found = written(board, op, settings)
        true = bench.array.conductance_siemens()
    for name in set(expected) - {"lowering"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert board.ledger.device_pulses == sim.ledger.device_pulses > 30
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-12)
    plain = written(*simulated(text), settings)
    assert (plain["g_read_siemens"] != found["g_read_siemens"]).any(), "it need not obey at all"


@pytest.mark.parametrize("method", ["M3", pytest.param("M1", marks=pytest.mark.slow)])
def test_a_training_ends_on_a_mimicking_simulator_as_on_the_board(method, tmp_path):
    text = varied(tmp_path, 5, 4)
    digits = few_digits(features=4, classes=2, samples=60)
    sim, op = simulated(text + AS_RIG)
    expected, g_expected = train_on(sim, op, method, digits)
    with on_bench(text) as (board, bench, _):
        found, g_found = train_on(board, op, method, digits)
        true = bench.array.conductance_siemens()
    assert found == expected
    assert np.array_equal(g_found, g_expected)
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-12)
    assert expected["write_pulses"] > 100
    _, g_other = train_on(*simulated(text), method, digits)
    assert not np.array_equal(g_other, g_expected), "it need not obey at all"


def test_several_devices_pulsed_at_once_end_as_one_after_the_other_and_the_record_says_so():
    text = text_of(4, 4)
    sim, op = simulated(text)
    counts = np.tile([0, 3, 3, 5], (4, 1))
    with sim:
        SynapseArray(sim, op).program(counts)
    with on_bench(text) as (board, bench, emulated):
        with board:
            SynapseArray(board, op).program(counts)
        true = bench.array.conductance_siemens()
        assert len(emulated.pulses) == counts.sum()
        assert {cell[:2] for cell in emulated.pulses} == {
            (w, b) for w in range(1, 5) for b in (2, 3, 4)
        }
    # 1.5 V pulses disturb nothing at 0.75 V, below this device's threshold of 1 V.
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-12)
    assert any("one device after the other" in note for note in board.strategies)
    # Every further device of a row stresses the others of it once more, which the ledger counts.
    assert board.ledger.half_selected().sum() > sim.ledger.half_selected().sum()
