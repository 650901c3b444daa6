import numpy as np
import pytest
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.plan import Router
from hil_drivers.router.wiring import ChannelSpec, Wiring
from hypothesis import given, settings
from hypothesis import strategies as st
from wirings import (
    PULSER,
    SMU,
    dual_smu,
    fewest_moves,
    matrix_wiring,
    serial_read_map,
    valid_maps,
)

from hil.config.station import COMMON, Wire
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil.program import LineState, Phase, PulseBlock


@st.composite
def wired_blocks(draw):
    """Random wirings of 2-4 lines to up to 3 channels and the rail, and random blocks."""
    rows, cols = draw(st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 1), (3, 1)]))
    geometry = ArrayGeometry(rows, cols)
    n_channels = draw(st.integers(1, 3))
    names = [f"s.{k}" for k in range(n_channels)]
    kinds = [draw(st.sampled_from([SMU, SMU, PULSER])) for _ in names]
    specs = {n: ChannelSpec(n, **k) for n, k in zip(names, kinds, strict=True)}
    every = [*names, COMMON]
    ways = [
        draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
        for _ in range(geometry.n_lines)
    ]
    wiring = matrix_wiring(geometry, ways, specs)
    n_steps = draw(st.integers(1, 6))
    shape = (n_steps, geometry.n_lines)
    cells = n_steps * geometry.n_lines
    kind = np.array(draw(st.lists(st.integers(0, 4), min_size=cells, max_size=cells)))
    kind = kind.reshape(shape)
    state = np.choose(kind, [LineState.FLOAT, *[LineState.GROUND] * 2, *[LineState.DRIVE] * 2])
    level = np.where(kind == 3, 0.5, np.where(kind == 4, -0.5, 0.0))
    sense = kind == 2
    width = draw(st.sampled_from([1e-6, 1e-3]))
    return wiring, PulseBlock.build(Phase.UPDATE, state, level, width, sense=sense)


@settings(max_examples=300, deadline=None)
@given(wired_blocks())
def test_a_plan_serves_every_step_or_is_refused_when_nothing_can(case):
    wiring, block = case
    possible = fewest_moves(block, wiring)
    if possible is None:
        with pytest.raises(RouteRefused) as caught:
            Router(wiring).plan(block)
        assert caught.value.step is not None
        assert caught.value.where is not None
        return
    plan = Router(wiring).plan(block)
    for stage in plan.stages:
        for step in range(stage.start, stage.stop):
            assert any((stage.channel_of_line == m).all() for m in valid_maps(block, step, wiring))
    assert plan.moves >= possible


def test_relay_moves_are_within_one_percent_of_the_minimum():
    planned, fewest = random_totals(np.random.default_rng(5), 150)
    assert fewest > 1000
    assert planned <= 1.01 * fewest


def random_totals(rng, n_cases):
    planned = fewest = 0
    for _ in range(n_cases):
        geometry = ArrayGeometry(*((2, 2), (3, 2), (2, 3))[rng.integers(3)])
        names = [f"s.{k}" for k in range(rng.integers(2, 5))]
        specs = {n: ChannelSpec(n, **SMU) for n in names}
        ways = [
            [*(n for n in names if rng.random() < 0.6), COMMON] for _ in range(geometry.n_lines)
        ]
        wiring = matrix_wiring(geometry, ways, specs)
        kind = rng.choice(4, size=(6, geometry.n_lines), p=[0.15, 0.55, 0.15, 0.15])
        state = np.choose(kind, [LineState.FLOAT, *[LineState.GROUND] * 2, LineState.DRIVE])
        block = PulseBlock.build(
            Phase.UPDATE, state, np.where(kind == 3, 0.5, 0.0), 1e-3, sense=kind == 2
        )
        best = fewest_moves(block, wiring)
        if best is None:
            continue
        fewest += best
        planned += Router(wiring).plan(block).moves
    return planned, fewest


def test_a_serial_read_map_moves_four_relays_per_device_and_four_more_per_row():
    plan = Router(dual_smu(4, 4)).plan(serial_read_map(4, 4))
    assert len(plan.stages) == 16
    first = 8  # every line is closed once
    assert plan.moves == first + 15 * 4 + 3 * 4


def test_write_and_read_steps_of_one_device_share_their_closures():
    wiring = dual_smu(2, 2)
    state = np.full((20, 4), LineState.GROUND, dtype=np.uint8)
    level = np.zeros((20, 4))
    sense = np.zeros((20, 4), dtype=bool)
    state[:, 1] = LineState.DRIVE
    level[0::2, 1], level[1::2, 1] = 2.0, 0.1
    sense[1::2, 2] = True
    plan = Router(wiring).plan(PulseBlock.build(Phase.PROGRAM, state, level, 1e-3, sense=sense))
    assert len(plan.stages) == 1
    assert plan.moves == 4


def test_a_block_that_continues_where_the_last_one_ended_moves_nothing():
    router = Router(dual_smu(4, 4))
    block = serial_read_map(4, 4).steps(5, 6)
    first = router.plan(block)
    again = router.plan(block, first.stages[-1].channel_of_line)
    assert again.moves == 0
    assert (again.after == first.after).all()


def test_too_many_potentials_name_the_line_and_the_channels():
    wiring = dual_smu(3, 3)
    state = np.full((1, 6), LineState.DRIVE, dtype=np.uint8)
    level = np.arange(1.0, 7.0)[None] / 10
    with pytest.raises(RouteRefused, match=r"step 0, .*smu\.a, smu\.b, common") as caught:
        Router(wiring).plan(PulseBlock.build(Phase.UPDATE, state, level, 1e-3))
    assert caught.value.too_many


def test_a_line_that_reaches_no_meter_is_refused_by_name():
    geometry = ArrayGeometry(1, 1)
    specs = {"smu.a": ChannelSpec("smu.a", **SMU), "gen.1": ChannelSpec("gen.1", **PULSER)}
    wiring = matrix_wiring(geometry, [("smu.a",), ("gen.1",)], specs)
    block = serial_read_map(1, 1)
    with pytest.raises(RouteRefused, match=r"step 0, BL0: .*gen\.1, which cannot measure"):
        Router(wiring).plan(block)


def test_compliance_is_refused_where_nothing_can_limit():
    geometry = ArrayGeometry(1, 1)
    specs = {"gen.1": ChannelSpec("gen.1", **PULSER)}
    wiring = matrix_wiring(geometry, [("gen.1",), (COMMON,)], specs)
    block = PulseBlock.build(Phase.UPDATE, [[2, 1]], [[1.0, 0.0]], 1e-6, compliance_a=1e-4)
    with pytest.raises(RouteRefused, match=r"WL0: compliance 0.0001 A .*cannot limit current"):
        Router(wiring).plan(block)


def test_a_meter_at_the_other_end_limits_for_a_pulse_generator():
    geometry = ArrayGeometry(1, 2)
    specs = {"gen.1": ChannelSpec("gen.1", **PULSER), "smu.a": ChannelSpec("smu.a", **SMU)}
    wiring = matrix_wiring(geometry, [("gen.1",), ("smu.a", COMMON), ("smu.a", COMMON)], specs)
    block = PulseBlock.build(
        Phase.UPDATE, [[2, 1, 1]], [[1.0, 0.0, 0.0]], 1e-6, compliance_a=1e-4,
        selected=[[True, False, True]],
    )  # fmt: skip
    (stage,) = Router(wiring).plan(block).stages
    names = [wiring.channels[c].name for c in stage.channel_of_line]
    assert names == ["gen.1", COMMON, "smu.a"]


def test_short_pulses_go_to_the_generator_and_measured_ones_to_the_meter():
    geometry = ArrayGeometry(1, 1)
    specs = {"gen.1": ChannelSpec("gen.1", **PULSER), "smu.a": ChannelSpec("smu.a", **SMU)}
    specs["smu.b"] = ChannelSpec("smu.b", **SMU)
    wiring = matrix_wiring(geometry, [tuple(specs), (*specs, COMMON)], specs)
    state, level = np.array([[2, 1], [2, 1]]), np.array([[1.0, 0.0], [0.1, 0.0]])
    block = PulseBlock.build(
        Phase.UPDATE, state, level, [1e-6, 1e-3], sense=[[False, False], [False, True]]
    )
    stages = Router(wiring).plan(block).stages
    names = [[wiring.channels[c].name for c in s.channel_of_line] for s in stages]
    assert names[0][0] == "gen.1"
    assert names[-1][1].startswith("smu")


def test_a_directly_wired_line_is_held_to_its_one_channel():
    geometry = ArrayGeometry(1, 1)
    wires = [Wire("WL0", "smu.1", None, None), Wire("BL0", COMMON, None, None)]
    wiring = Wiring.build(geometry, wires, {"smu.1": ChannelSpec("smu.1", **SMU)})
    with pytest.raises(RouteRefused, match=r"WL0: line level 30 V against limit 20 V"):
        Router(wiring).plan(PulseBlock.build(Phase.UPDATE, [[2, 1]], [[30.0, 0.0]], 1e-3))
    with pytest.raises(RouteRefused, match=r"BL0: floating lines .*common .*cannot float"):
        Router(wiring).plan(PulseBlock.build(Phase.UPDATE, [[2, 0]], [[1.0, 0.0]], 1e-3))


def test_tied_lines_cannot_differ():
    geometry = ArrayGeometry(2, 1)
    wires = [Wire(n, c, None, None) for n, c in
             (("WL0", "smu.1"), ("WL1", "smu.1"), ("BL0", COMMON))]  # fmt: skip
    wiring = Wiring.build(geometry, wires, {"smu.1": ChannelSpec("smu.1", **SMU)})
    Router(wiring).plan(PulseBlock.build(Phase.UPDATE, [[2, 2, 1]], [[1.0, 1.0, 0.0]], 1e-3))
    with pytest.raises(RouteRefused, match=r"WL0 and WL1 are both wired to smu\.1"):
        Router(wiring).plan(PulseBlock.build(Phase.UPDATE, [[2, 1, 1]], [[1.0, 0, 0]], 1e-3))


@pytest.mark.parametrize(
    ("wires", "message"),
    [
        ([("WL0", "smu.a", "1A01"), ("BL0", "smu.b", "1A02")], "two sources would be shorted"),
        ([("WL0", "smu.a", "1A01"), ("BL0", "smu.b", "1B01")], "are on one output"),
        ([("WL0", "smu.a", "1A01")], "line BL0 is not wired"),
        ([("WL0", "smu.c", "1A01"), ("BL0", "smu.b", "1B02")], "no channel 'smu.c'"),
        ([("WL0", "smu.a", None), ("BL0", "smu.a", "1B02")], "direct wire and on a matrix"),
    ],
)
def test_a_wiring_that_would_short_is_refused(wires, message):
    specs = {n: ChannelSpec(n, **SMU) for n in ("smu.a", "smu.b")}
    ways = [Wire(line, c, "mux" if x else None, x) for line, c, x in wires]
    with pytest.raises(ConfigError, match=message):
        Wiring.build(ArrayGeometry(1, 1), ways, specs)


def test_lines_with_more_combinations_than_a_float_counts_are_planned():
    rows, cols = 400, 300  # 3 ways for each of 700 lines: more than 1e308
    wiring = dual_smu(rows, cols)
    state = np.full((1, rows + cols), LineState.GROUND)
    state[0, 5] = LineState.DRIVE
    level = np.where(state == LineState.DRIVE, 0.2, 0.0)
    sense = np.arange(rows + cols)[None, :] == rows + 7
    plan = Router(wiring).plan(PulseBlock.build(Phase.READ, state, level, 1e-3, sense=sense))
    (stage,) = plan.stages
    names = [wiring.channels[c].name for c in stage.channel_of_line]
    assert {names[5], names[rows + 7]} == {"smu.a", "smu.b"}
    assert names.count(COMMON) == rows + cols - 2
