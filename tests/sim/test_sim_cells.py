"""Select transistors, three-terminal cells, forming, drift."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.models.device import load_device
from simulated import V, changed

from hil.measurement import Status
from hil.program import Phase

GATED = {"threshold": "0.5 V", "transconductance": "100 uS"}


def one_t_one_r(**more):
    return changed("ideal", cell="1T1R", transistor=GATED, **more)


def test_a_closed_gate_stops_reads_writes_and_sneak_paths(bench):
    one = bench(one_t_one_r(), 2, 2, g0=2e-5)
    open_row = {"WL0": 0.1, "WL1": 0.1, "GL0": 3.0}
    m = one.drive(open_row, 1e-5, sense="BL0 WL0 WL1")
    assert m.current_a == pytest.approx([4e-6, 0.0, -2e-6])
    one.drive({"WL0": V / 2, "WL1": V / 2, "BL0": -V / 2, "GL1": 0.4})
    assert (one.g == 2e-5).all()
    one.drive({"WL0": V / 2, "WL1": V / 2, "BL0": -V / 2, "GL1": 3.0})
    moved = (one.g - 2e-5) / 99e-6 * 1024
    assert moved == pytest.approx(np.array([[0, 0], [1, 0]]), abs=1e-9)
    m = one.drive({"WL0": 0.2, "GL0": 3.0}, 1e-5, floats="BL1 WL1", sense="BL0")
    assert m.current_a[0] == pytest.approx(-0.2 * 2e-5)  # no sneak path through the closed row


def test_the_gate_limits_current_and_so_the_voltage_of_the_device(bench):
    one = bench(one_t_one_r(), 1, 1, g0=5e-5)
    m = one.drive({"WL0": 1.0, "GL0": 0.7}, 1e-5, sense="BL0")  # limit 20 uA, needs 50 uA
    assert -m.current_a[0] == pytest.approx(20e-6, rel=1e-6)
    one.drive({"WL0": V, "GL0": 1.3})  # 80 uA over 50 uS: the device sees 1.6 V
    assert (one.g[0, 0] - 5e-5) / 99e-6 * 1024 == pytest.approx(0.5, rel=1e-6)


def test_the_gate_opens_for_its_own_width(bench):
    one = bench(one_t_one_r(), 1, 1, g0=2e-5)
    widths = {"WL0": 4e-6, "GL0": 1e-6}
    m = one.drive({"WL0": 0.1, "GL0": 3.0}, widths, sense="BL0")
    assert -m.current_a[0] == pytest.approx(0.1 * 2e-5 / 4)
    one.drive({"WL0": V, "GL0": 3.0}, widths)
    assert (one.g[0, 0] - 2e-5) / 99e-6 * 1024 == pytest.approx(1.0)


def test_gate_writes_and_word_reads_of_a_three_terminal_cell(bench):
    device = load_device("gated-schottky")
    quiet = changed(device, variation={})
    one = bench(quiet, 2, 2)
    low = one.g
    one.drive({"GL0": 4.0, "BL1": -4.0}, 1e-4)
    assert one.g[0, 1] > low[0, 1]
    assert np.array_equal(one.g[[0, 1, 1], [0, 0, 1]], low[[0, 1, 1], [0, 0, 1]])
    m = [one.drive({"WL0": v}, 1e-4, sense="BL1").current_a[0] for v in (0.5, 1.0, 2.0, 4.0)]
    assert -m[1] == pytest.approx(one.g[0, 1] * 1.0)
    assert m[3] == pytest.approx(m[2], rel=1e-3)  # saturated
    assert abs(m[0]) < 0.9 * abs(m[1])
    before = one.g
    one.drive({"WL0": 8.0}, 1e-4)
    assert np.array_equal(one.g, before), "the word line must not write"


def test_an_erase_pulse_resets_every_device_of_the_rows_of_its_well(bench):
    quiet = changed("gated-schottky", variation={})
    one = bench(quiet, 4, 3, g0=5e-9, block_rows=2)
    one.drive({"PW1": 10.0}, 1e-3, phase=Phase.ERASE)
    assert one.g[2:] == pytest.approx(0.1e-9)
    assert (one.g[:2] == 5e-9).all()
    one.drive(
        {"PW0": 10.0, "GL0": 10.0}, 1e-3, phase=Phase.ERASE
    )  # a gate at the same level inhibits
    assert one.g[1] == pytest.approx(0.1e-9)
    assert (one.g[0] > 4e-9).all()


def test_an_erase_can_take_several_pulses_and_needs_its_threshold(bench):
    slow = changed("gated-schottky", variation={}, erase__pulses=4.0)
    one = bench(slow, 1, 1, g0=10e-9)
    u = []
    for _ in range(5):
        one.drive({"PW0": 10.0}, 1e-3, phase=Phase.ERASE)
        u.append((one.g[0, 0] - 0.1e-9) / 9.9e-9)
    assert u == pytest.approx([0.75, 0.5, 0.25, 0.0, 0.0], abs=1e-9)
    other = bench(slow, 1, 1, g0=10e-9)
    other.drive({"PW0": 6.9}, 1e-3, phase=Phase.ERASE)
    assert other.g[0, 0] == 10e-9


def forming(spread="0 V", formed=False, overshoot=2.0):
    return {
        "formed": formed, "voltage": "3 V", "spread": spread, "g_pristine": "10 nS",
        "compliance_voltage": "1 V", "overshoot": overshoot,
    }  # fmt: skip


def test_a_pristine_device_conducts_little_and_does_not_switch(bench):
    one = bench(changed("ideal", forming=forming()), 2, 2)
    m = one.drive({"WL0": 0.1}, 1e-5, sense="BL0")
    assert -m.current_a[0] == pytest.approx(1e-9)
    one.drive({"WL0": 2.9}, repeat=50)
    assert (one.g == 10e-9).all()


@pytest.mark.parametrize("limit_a", [5e-6, 20e-6, 80e-6])
def test_the_formed_conductance_follows_the_compliance(bench, limit_a):
    one = bench(changed("ideal", forming=forming()), 2, 2)
    m = one.drive({"WL0": 3.1}, sense="WL0", floats="BL1 WL1", compliance_a=one.limit(WL0=limit_a))
    assert one.g[0, 0] == pytest.approx(limit_a / 1.0)
    assert (one.g.ravel()[1:] == 10e-9).all()
    assert m.status[0] & np.uint32(Status.I_COMPLIANCE)
    assert m.current_a[0] == pytest.approx(limit_a)
    before = one.g[0, 0]
    one.drive({"WL0": V})
    assert (one.g[0, 0] - before) / 99e-6 * 1024 == pytest.approx(1.0, rel=1e-6), "it switches now"


def test_forming_without_compliance_breaks_the_device(bench):
    one = bench(changed("ideal", forming=forming()), 1, 2)
    one.drive({"WL0": 3.1}, floats="BL1")
    assert one.g[0, 0] == pytest.approx(1e-4)
    one.drive({"WL0": -V}, floats="BL1", repeat=5000)
    assert one.g[0, 0] == pytest.approx(1e-4), "it is stuck"
    assert one.g[0, 1] == pytest.approx(10e-9)


def test_forming_voltages_spread_from_device_to_device(bench):
    one = bench(changed("ideal", forming=forming("0.2 V")), 30, 30)
    v_form = one.backend.array.population.v_form
    assert v_form.mean() == pytest.approx(3.0, abs=0.03)
    assert v_form.std() == pytest.approx(0.2, rel=0.1)
    limits = one.limit(**{f"WL{i}": 30 * 20e-6 for i in range(30)})
    done = []
    for volts in (2.6, 3.0, 3.4, 4.0):
        one.drive({f"WL{i}": volts for i in range(30)}, compliance_a=limits)
        done.append(float((one.g > 20e-9).mean()))
    expected = [(v_form <= v).mean() for v in (2.6, 3.0, 3.4, 4.0)]
    # A limiting source lowers its voltage once some of its devices have formed.
    assert all(d <= e + 1e-12 for d, e in zip(done, expected, strict=True))
    assert 0 < done[0] < 0.2
    assert done == sorted(done)


def test_a_device_file_may_start_formed(bench):
    one = bench(changed("ideal", forming=forming(formed=True)), 1, 1)
    assert one.g[0, 0] == pytest.approx(1e-6)
    one.drive({"WL0": V})
    assert one.g[0, 0] > 1e-6


def test_the_gate_voltage_sets_the_formed_conductance_of_a_1t1r_cell(bench):
    device = changed("hfox-pristine", variation={}, forming__spread="0 V")
    got = []
    for gate in (0.8, 0.9, 1.0):
        one = bench(device, 2, 2)
        one.drive({"WL0": 3.0, "GL0": gate, "BL1": 3.0}, 1e-4)
        got.append(one.g[0, 0])
        assert (one.g.ravel()[1:] == 1e-9).all()
    assert got == pytest.approx([20e-6, 30e-6, 40e-6])


def test_a_preset_is_formed_at_its_own_operating_point(bench):
    one = bench("hfox-pristine", 4, 4)
    for i in range(4):
        for j in range(4):
            levels = {f"WL{i}": 3.0, f"GL{i}": 1.0} | {f"BL{k}": 3.0 for k in range(4) if k != j}
            one.drive(levels, 1e-4)
    low, high = (one.backend.array.population.full_min, one.backend.array.population.full_max)
    assert (one.g >= low).all()
    assert (one.g < high * 0.9).all()
    before = one.g
    one.drive({"WL0": -0.5, "BL0": 0.5, "GL0": 3.0}, 1e-4, repeat=10)
    assert one.g[0, 0] < before[0, 0]


def drifting(nu=0.05, nu_d2d=0.0):
    return changed("ideal", drift={"nu": nu, "nu_d2d": nu_d2d, "t0": "1 s"})


def test_conductance_drifts_with_the_time_since_programming(bench):
    one = bench(drifting(), 2, 2, g0=5e-5)
    for wait in (0.5, 9.5, 90.0):
        one.drive({}, wait, phase=Phase.IDLE)
        t = one.backend.array.clock_ns * 1e-9
        expected = 5e-5 * max(t, 1.0) ** -0.05
        m = one.drive({"WL0": 0.1}, 1e-5, sense="BL0")
        assert -m.current_a[0] == pytest.approx(0.1 * expected, rel=1e-6)


def test_a_pulse_restarts_the_drift_of_its_device_only(bench):
    one = bench(drifting(), 2, 2, g0=5e-5)
    one.drive({}, 1000.0, phase=Phase.IDLE)
    drifted = 5e-5 * 1000**-0.05
    one.drive({"WL0": V / 2, "BL0": -V / 2})
    one.drive({}, 1000.0, phase=Phase.IDLE)
    written = drifted + 99e-6 / 1024
    assert one.g[0, 0] == pytest.approx(written * 1000**-0.05, rel=1e-5)
    assert one.g[1, 1] == pytest.approx(5e-5 * 2000**-0.05, rel=1e-5)


def test_drift_differs_between_devices_and_skips_stuck_ones(bench):
    device = changed(drifting(0.05, 0.02), variation={"stuck_at_max": 0.2})
    one = bench(device, 50, 50, g0=5e-5)
    start = one.g
    one.drive({}, 100.0, phase=Phase.IDLE)
    nu = -np.log(one.g / start) / np.log(one.backend.array.clock_ns * 1e-9)
    stuck = start == 1e-4
    assert (nu[stuck] == 0).all()
    assert nu[~stuck].mean() == pytest.approx(0.05, abs=0.002)
    assert nu[~stuck].std() == pytest.approx(0.02, rel=0.07)


@pytest.mark.parametrize("floats", ["", "WL1"])
def test_a_drifting_array_gives_the_same_in_any_chunks(bench, floats):
    device = changed("ideal", drift={"nu": 0.1, "t0": "1 ms"})
    one, other = bench(device, 2, 2, g0=5e-5), bench(device, 2, 2, g0=5e-5)
    write = {"levels": {"WL0": V / 2, "BL0": -V / 2}, "width": 0.1, "floats": floats}
    read = {"levels": {"WL0": 0.1}, "width": 0.1, "sense": "BL0 BL1", "floats": floats}
    whole = [one.drive(**write, repeat=5), one.drive(**read, repeat=5)][1]
    for _ in range(5):
        other.drive(**write)
    parts = [other.drive(**read) for _ in range(5)]
    assert np.array_equal(whole.current_a, np.concatenate([m.current_a for m in parts]))
    assert np.array_equal(whole.t_ns, np.concatenate([m.t_ns for m in parts]))
    assert np.array_equal(one.g, other.g)
    assert (np.diff(np.abs(whole.current_a[::2])) < 0).all(), "it drifts between repeats"
