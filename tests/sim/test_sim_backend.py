"""The simulated backend around the physics: clock, status, mimicking, construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Bench, T, V

from hil.capabilities import Capabilities, Range
from hil.errors import ConfigError, LimitError
from hil.geometry import ONE_T_ONE_R, ArrayGeometry
from hil.measurement import Status
from hil.program import Phase, PulseBlock, SensePlan, split
from hil.template import BlockTemplate


def test_the_clock_advances_by_the_periods_of_the_steps(bench):
    one = bench("ideal", 2, 2)
    timing = {"rise_s": 2e-6, "fall_s": 4e-6, "gap_s": 7e-6}
    m = one.drive({"WL0": 0.1}, 1e-5, sense="BL0 BL1", repeat=3, **timing)
    assert m.t_ns.tolist() == [0, 0, 20_000, 20_000, 40_000, 40_000]
    one.drive({}, 5.0, phase=Phase.IDLE)
    one.drive({"WL0": V}, 1e-6)
    m = one.drive({"WL0": 0.1}, 1e-5, sense="BL0")
    assert m.t_ns.tolist() == [5_000_061_000]


def test_pulses_without_duration_still_follow_one_another(bench):
    m = bench("ideal", 1, 1).drive({}, 0.0, sense="BL0", repeat=4)
    assert (np.diff(m.t_ns) > 0).all()
    assert (m.current_a == 0).all()


def test_every_reading_is_stamped_as_simulated(bench):
    one = bench("ideal", 2, 2)
    for options in ({}, {"floats": "WL1"}):
        m = one.drive({"WL0": 0.1}, 1e-5, sense="WL0 BL0", **options)
        assert (m.status == int(Status.SIMULATED)).all()
        assert np.isnan(m.range_a).all()
    m = one.drive({"WL0": 0.1}, 1e-5, sense="BL0", sensing=SensePlan(range_a=1e-3))
    assert m.range_a.tolist() == pytest.approx([1e-3])
    assert one.backend.capabilities.simulated
    assert one.backend.name == "sim"


def test_an_idle_or_grounded_block_changes_nothing_but_the_clock(bench):
    one = bench("nonlinear", 3, 3, g0=5e-5)
    one.drive({"WL0": V}, 1e-3, phase=Phase.IDLE)
    one.drive({}, 1e-3)
    one.drive({"WL0": 0.0, "BL0": 0.0}, 1e-3)
    assert (one.g == 5e-5).all()
    assert one.backend.array.clock_ns == 3_000_000


def test_the_devices_keep_their_state_over_close_and_open(bench):
    one = bench("nonlinear", 3, 3)
    one.drive({"WL0": V}, repeat=5)
    before = one.g
    one.backend.close()
    one.backend.open()
    assert np.array_equal(one.g, before)


def test_what_is_handed_out_is_a_copy(bench):
    one = bench("ideal", 2, 2, g0=5e-5)
    one.g[:] = 0.0
    assert (one.g == 5e-5).all()


def test_starting_conductances_are_checked(bench):
    with pytest.raises(ConfigError, match="shape"):
        bench("ideal", 2, 2, g0=np.ones((3, 2)))
    for wrong in (np.nan, 0.0, -1e-6):
        with pytest.raises(ConfigError, match="finite and above 0"):
            bench("ideal", 2, 2, g0=wrong)


def test_device_and_geometry_must_be_of_one_cell_kind():
    with pytest.raises(ConfigError, match="1R cells, the array 1T1R"):
        SimBackend(ArrayGeometry(2, 2, ONE_T_ONE_R), "ideal")


@given(
    cuts=st.integers(1, 7), seed=st.integers(0, 100), floats=st.booleans(),
    preset=st.sampled_from(["nonlinear", "pcmo"]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_any_programme_is_the_same_in_any_chunks(cuts, seed, floats, preset):
    rng = np.random.default_rng(seed)
    steps, n = 12, 8
    state = rng.integers(0 if floats else 1, 3, (steps, n)).astype(np.uint8)
    block = PulseBlock.build(
        Phase.PROGRAM, state, rng.uniform(-1.5, 1.5, (steps, n)),
        rng.uniform(0.2, 2.0, (steps, n)) * T, gap_s=T, repeat=rng.integers(0, 4, steps),
        sense=rng.random((steps, n)) < 0.3,
    )  # fmt: skip
    results = []
    for pieces in ([block], list(split(block, cuts, 4 * T))):
        one = Bench(preset, 4, 4, g0=3e-5 if preset == "nonlinear" else None)
        readings = list(one.backend.run(pieces))
        results.append((one.g, *(np.concatenate([getattr(m, c) for m in readings])
                                 for c in ("current_a", "t_ns", "line", "level_v"))))  # fmt: skip
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


def test_templated_blocks_are_the_same_as_built_ones(bench):
    one, other = bench("nonlinear", 4, 4), bench("nonlinear", 4, 4)
    full = one.block({f"WL{i}": 1.0 for i in range(4)} | {f"BL{j}": -1.0 for j in range(4)})
    template = BlockTemplate.around(full)
    rng = np.random.default_rng(0)
    for _ in range(5):
        bits = rng.random((1, 8)) < 0.5
        state = np.where(bits, full.state, 1).astype(np.uint8)
        one.backend.run_block(template.fill(state=state, selected=bits))
        other.backend.run_block(
            PulseBlock.build(Phase.PROGRAM, state, full.level_v, T, selected=bits)
        )
    assert np.array_equal(one.g, other.g)
    assert (one.g > 1e-6).any()


RIG = replace(
    Capabilities(),
    level_v=Range(-5.0, 5.0, 0.01),
    width_s=Range(1e-7, 1.0, 1e-7),
    sense_a=Range(-1e-5, 1e-5, 1e-9),
)


def test_a_mimicked_rig_delivers_on_its_grid_and_says_so(bench):
    one = bench("ideal", 2, 2, g0=2e-5, mimic=RIG)
    m = one.drive({"WL0": 0.1234}, 1.04e-6, sense="WL0 BL0")
    assert m.level_v.tolist() == pytest.approx([0.12, 0.0])
    assert m.width_s == pytest.approx(1e-6)
    assert m.current_a == pytest.approx([2 * 0.12 * 2e-5, -0.12 * 2e-5], abs=1e-12)
    small = one.drive({"WL0": 0.01}, 1e-6, sense="BL0")
    assert small.current_a / 1e-9 == pytest.approx(np.round(small.current_a / 1e-9))


def test_a_mimicked_meter_flags_currents_beyond_its_range(bench):
    one = bench("ideal", 2, 2, g0=2e-5, mimic=RIG)
    m = one.drive({"WL0": 0.6}, 1e-6, sense="WL0 BL0")
    assert ((m.status & np.uint32(Status.OVERFLOW)) != 0).tolist() == [True, True]
    assert m.current_a == pytest.approx([1e-5, -1e-5])
    ranged = one.drive({"WL0": 0.1}, 1e-6, sense="WL0 BL0", sensing=SensePlan(range_a=3e-6))
    assert ((ranged.status & np.uint32(Status.OVERFLOW)) != 0).tolist() == [True, False]


@pytest.mark.parametrize(
    ("missing", "what", "options"),
    [
        ({"per_line_width": False}, "width per line", {"width": {"WL0": T, "BL0": 2 * T}}),
        ({"can_float": False}, "floating", {"floats": "WL1"}),
        ({"limits_current": False}, "compliance", {"compliance_a": 1e-3}),
        ({"parallel_drive": False}, "driven at once", {}),
        ({"parallel_sense": False}, "sensed at once", {"sense": "BL0 BL1"}),
        ({"level_v": Range(-0.5, 0.5)}, "line level", {}),
        ({"width_s": Range(1e-3, 1.0)}, "pulse width", {}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_mimicked_rig_refuses_what_the_rig_cannot_do(bench, missing, what, options):
    one = bench("ideal", 2, 2, g0=5e-5, mimic=replace(Capabilities(), **missing))
    levels = {"WL0": 1.0, "BL0": -1.0}
    block = one.block(levels, **options)
    template = BlockTemplate.around(block)
    for refused in (block, template.fill()):
        with pytest.raises(LimitError, match=what):
            one.backend.run_block(refused)
    assert (one.g == 5e-5).all()
    bench("ideal", 2, 2).drive(levels, **options)


def test_a_mimicked_rig_takes_its_time(bench):
    slow = replace(Capabilities(), step_overhead_s=1e-3, block_overhead_s=1e-2)
    one = bench("ideal", 1, 1, mimic=slow)
    m = one.drive({"WL0": 0.1}, 1e-6, sense="BL0", repeat=2)
    assert m.t_ns.tolist() == [10_000_000, 11_001_000]
    m = one.drive({"WL0": 0.1}, 1e-6, sense="BL0", repeat=1)
    assert m.t_ns.tolist() == [22_002_000]


@pytest.mark.parametrize("wrong", [2e-4, 1e-7])
def test_starting_conductances_outside_the_device_range_are_refused(bench, wrong):
    with pytest.raises(ConfigError, match=r"the device has 1e-06 to 0\.0001 S"):
        bench("ideal", 2, 2, g0=wrong)
