"""Twin equality of a framed serial board: the same programmes on the simulator and on the board."""

from __future__ import annotations

import numpy as np
import pytest
from benches import CURVED, SETTINGS, device_file, written
from hil_drivers.serial_board.runs import Runner
from serial_bench import GRIDS, on_bench, station_of, text_of
from test_twin import FLOAT32_SIEMENS, PROTOCOLS, READINGS_IN, run

from hil.control.array import SynapseArray
from hil.control.opening import make_backend
from hil.program import Phase, PulseBlock
from hil.testing import programs

CURRENT_STEP_A, READ_V = 1e-9, 0.2


@pytest.mark.parametrize(
    ("protocol", "coding"),
    [*((protocol, "amplitude") for protocol in PROTOCOLS), ("forward", "width"),
     ("backward", "width"), ("forward", "count"), ("backward", "count")],
)  # fmt: skip
def test_board_and_simulator_give_the_same_conductances(protocol, coding, tmp_path):
    station = station_of(text_of(coding=coding))
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    half = 0.5 * CURRENT_STEP_A / READ_V + FLOAT32_SIEMENS
    outcome, expected = run(sim, op, protocol, tmp_path)
    with on_bench(station, seed=9) as (board, bench):
        board_outcome, found = run(board, op, protocol, tmp_path)
        true = bench.array.conductance_siemens()
        assert not bench.incidents
        assert bench.safe
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-6)
    assert np.unique(true).size > 2, "nothing was written, or everything saturated"
    assert board.ledger.device_pulses == sim.ledger.device_pulses > 0
    assert found == pytest.approx(expected, rel=0.0, abs=half)
    assert set(board_outcome) - {"lowering"} == set(outcome) - {"lowering"}
    scale = op.count_levels if coding == "count" else 1
    for name, values in outcome.items():
        if name.endswith("_siemens"):
            assert np.asarray(board_outcome[name]) == pytest.approx(
                np.asarray(values), rel=0.0, abs=READINGS_IN.get(name, 1) * half * scale,
                nan_ok=True,
            ), name  # fmt: skip


@pytest.mark.parametrize("how", SETTINGS)
def test_write_verify_decides_as_a_simulator_on_the_boards_grids(how, tmp_path):
    text = text_of(device=device_file(tmp_path, CURVED)).replace('"1.5 V"', '"1.5003 V"')
    mimic = station_of(text + GRIDS)
    sim, op = make_backend(mimic, mimic.array[0], sim=True, seed=9)
    expected = written(sim, op, SETTINGS[how])
    with on_bench(station_of(text), seed=9) as (board, bench):
        found = written(board, op, SETTINGS[how])
        true = bench.array.conductance_siemens()
    assert set(found) - {"lowering"} == set(expected) - {"lowering"}
    for name in set(expected) - {"lowering"}:
        if name.endswith("_siemens"):  # which travel as 32-bit floats
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert board.ledger.device_pulses == sim.ledger.device_pulses > 20
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-9)


def test_lines_may_be_wired_in_any_order(tmp_path):
    order = {"WL": (2, 0, 3, 1), "BL": (1, 3, 0, 2)}
    wiring = "".join(
        f'[[wiring]]\nline = "{group}{k}"\nchannel = "board.{group[0].lower()}{n}"\n'
        for group, numbers in order.items()
        for k, n in enumerate(numbers)
    )
    station = station_of(text_of() + wiring)
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    _, expected = run(sim, op, "ltp-ltd", tmp_path)
    with on_bench(station, seed=9) as (board, bench):
        _, found = run(board, op, "ltp-ltd", tmp_path)
        true = bench.array.conductance_siemens()
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-6)
    assert np.unique(true).size > 2
    half = 0.5 * CURRENT_STEP_A / READ_V + FLOAT32_SIEMENS
    assert found == pytest.approx(expected, rel=0.0, abs=half)


def test_gates_are_lines_like_others(tmp_path):
    text = text_of(device="hfox", cell="1T1R")
    for old, new in (
        ('gap = "100 us"', 'gap = "100 us"\ngate_read_voltage = "2 V"\ngate_write_voltage = "2 V"'),
        ('"1 uS"', '"5 uS"'),
    ):
        assert old in text
        text = text.replace(old, new)
    station = station_of(text)
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    with sim:
        expected = SynapseArray(sim, op).read()
    with on_bench(station, seed=9) as (board, _), board:
        assert board.geometry.n_lines == 12
        found = SynapseArray(board, op).read()
        assert board.plan(next(iter(read_blocks(board, op)))).parts[0].matrix == b""
    assert found == pytest.approx(expected, rel=0.2)


def read_blocks(backend, op):
    from hil.phases.reading import read_map

    return read_map(backend.geometry, op, backend.capabilities)


def test_readings_are_averaged_of_as_many_pulses_as_are_asked_for():
    station = station_of(
        text_of().replace('gap = "100 us"', 'gap = "100 us"\nsense = { averages = 4 }')
    )
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    assert op.sensing.averages == 4
    with on_bench(station, seed=9) as (board, _), board:
        (block,) = read_blocks(board, op)
        plan = board.plan(block)
        assert plan.lowered.block.n_pulses == 16
        (found,) = board.run([block])
    with sim:
        (expected,) = sim.run([block])
    assert len(found) == len(expected) == 16
    np.testing.assert_allclose(found.current_a, expected.current_a, atol=CURRENT_STEP_A / 2)


def test_a_block_larger_than_the_boards_memory_is_run_in_parts():
    station = station_of(text_of())
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    small = {"seq_bytes": 300, "max_readings": 10, "max_steps": 3}
    with on_bench(station, seed=9, board=small) as (board, _), board:
        (block,) = read_blocks(board, op)
        assert len(board.plan(block).parts) > 1
        repeated = PulseBlock.build(
            Phase.READ, block.state, block.level_v, block.width_s, gap_s=block.gap_s, repeat=7,
            sense=block.sense,
        )  # fmt: skip
        (found,) = board.run([repeated])
    with sim:
        (expected,) = sim.run([repeated])
    for name in ("step", "line", "pulse", "executed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.current_a, expected.current_a, atol=CURRENT_STEP_A / 2)
    starts = found.t_ns[found.line == found.line[0]]
    assert (np.diff(starts) > 0).all()


def test_a_board_behind_a_socket_is_the_same_board():
    station = station_of(text_of())
    op, found = station.drive.operating_point(), []
    for transport in ("pty", "socket"):
        with on_bench(station, seed=9, board={"transport": transport}) as (board, bench), board:
            assert bench.resources["board"].startswith("socket://") == (transport == "socket")
            (readings,) = board.run(list(read_blocks(board, op)))
            found.append(readings.current_a)
    np.testing.assert_array_equal(*found)


def test_levels_of_a_board_that_is_calibrated_are_fetched_and_recorded(monkeypatch):
    """A board whose levels differ from its grid is one whose loads say so."""
    wiring = "".join(
        f'[[wiring]]\nline = "{group}{k}"\nchannel = "board.{group[0].lower()}{3 - k}"\n'
        for group in ("WL", "BL")
        for k in range(4)
    )
    station = station_of(text_of() + wiring)
    op = station.drive.operating_point()
    load = Runner.load
    monkeypatch.setattr(Runner, "load", lambda self, part: load(self, part) + 1e-4)
    with on_bench(station, seed=9) as (board, _), board:
        block = programs.write_step(board.geometry, op, [1], [2])
        level = block.level_v * 1.00001
        asked = PulseBlock.build(
            block.phase, block.state, level, block.width_s, selected=block.selected
        )
        delivered = board._prepare(asked)
        board._execute(delivered)
    assert delivered is not asked
    on_grid = np.where(asked.state == 2, np.rint(level / 5e-4) * 5e-4, level)
    np.testing.assert_allclose(delivered.level_v, on_grid, rtol=1e-7)
