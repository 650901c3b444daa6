"""Write-verify, run end to end on simulated arrays of every cell kind."""

from __future__ import annotations

import numpy as np
import pytest
from hil_protocols.loader import parse
from protocol_arrays import LIBRARY, PRESETS, limits_of, run_on, simulated

from hil.capabilities import Capabilities, Range
from hil.errors import ProtocolError
from hil.limits import SafetyLimits
from hil.phases.verify import Outcome, WriteVerify, WriteVerifyProcedure, outcome_counts


def within(outcome: dict, tolerance: float) -> float:
    return float(
        (np.abs(outcome["g_final_siemens"] - outcome["target_siemens"]) <= tolerance).mean()
    )


@pytest.mark.parametrize("name", ["write-verify", "write-verify-ispp", "write-verify-width"])
@pytest.mark.parametrize("preset", PRESETS)
def test_write_verify_brings_nearly_all_cells_of_a_noisy_array_to_their_targets(preset, name):
    backend, context = simulated(preset, 16)
    with backend:
        outcome = run_on(backend, LIBRARY.load(name), context)
        window = context.op.g_max_siemens - context.op.g_min_siemens
        read = run_on(backend, parse('schema = 1\nkind = "read-map"\nread_repeat = 50\n'), context)
    assert (outcome["outcome"] == Outcome.OK).mean() >= 0.95
    assert within(outcome, 0.02 * window) >= 0.95
    # An independent, averaged read: the verify's own noise is part of what it accepts.
    g = read["g_siemens"][0].reshape(16, 16)
    error = np.abs(g - outcome["target_siemens"]) / window
    assert (error <= 0.02 + 3 * 0.01 / np.sqrt(4)).mean() >= 0.95


def test_write_verify_spends_pulses_only_on_chosen_cells():
    backend, context = simulated("nonlinear")
    procedure = parse(
        'schema = 1\nkind = "write-verify"\ncells = [[0, 1], [5, 6]]\n'
        'targets = ["30 uS", "70 uS"]\n'
    )
    with backend:
        outcome = run_on(backend, procedure, context)
        counts = backend.ledger.selected()
    assert np.array_equal(counts, outcome["pulses"])
    assert set(map(tuple, np.argwhere(counts > 0))) == {(0, 1), (5, 6)}
    assert outcome["target_siemens"][5, 6] == pytest.approx(70e-6)
    assert (outcome["outcome"] == Outcome.SKIPPED).sum() == 62


def test_write_verify_comes_down_as_well_as_up():
    backend, context = simulated("nonlinear", g0=9e-5)
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(2e-5), context)
        assert backend.ledger.selected_minus.sum() > backend.ledger.selected_plus.sum()
    assert (outcome["outcome"] == Outcome.OK).all()


def test_a_cell_stops_at_the_safety_limit_and_the_others_go_on():
    backend, context = simulated("nonlinear", limits=SafetyLimits(device_v=Range(-2.2, 1.5)))
    settings = WriteVerify(strategy="ispp", start_scale=0.7, hold=1, max_pulses=400)
    targets = np.full((8, 8), context.op.g_min_siemens)  # there already, apart from variation
    targets[0, 0] = 9e-5
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(targets, None, settings), context)
        assert np.abs(backend.ledger.selected_plus).max() < 20
    assert outcome["outcome"][0, 0] == Outcome.LIMIT
    assert (outcome["outcome"] == Outcome.OK).sum() == 63


def test_a_stuck_cell_is_given_up_as_stuck():
    # Pristine cells do not react to write pulses, a formed array does.
    backend, context = simulated("hfox-pristine", 4)
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(3e-5), context)
    assert dict(outcome_counts(outcome["outcome"])) == {Outcome.STUCK: 16}
    assert outcome["pulses"].max() < 100


def test_the_pulse_budget_ends_a_cell_as_max_pulses():
    backend, context = simulated("nonlinear", 4)
    with backend:
        outcome = run_on(
            backend, WriteVerifyProcedure(9e-5, None, WriteVerify(max_pulses=10)), context
        )
    assert (outcome["outcome"] == Outcome.MAX_PULSES).all()
    assert (outcome["pulses"] == 10).all()


def test_the_station_s_pulses_per_device_end_a_cell_as_limit():
    backend, context = simulated("nonlinear", 4, limits=SafetyLimits(pulses_per_device=12))
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(9e-5), context)
        assert backend.ledger.selected().max() <= 12
    assert (outcome["outcome"] == Outcome.LIMIT).all()


@pytest.mark.parametrize(
    ("targets", "said"),
    [(np.nan, "nan"), (1e-3, "allowed 1e-06 … 0.0001 S"), (np.zeros((2, 2)), r"needs one value")],
)
def test_bad_targets_are_refused_before_anything_is_driven(targets, said):
    backend, context = simulated("nonlinear", 4)
    with backend:
        with pytest.raises(ProtocolError, match=said):
            WriteVerifyProcedure(targets).steps(context)
        assert backend.ledger.reads().sum() == 0


def test_targets_that_nobody_asks_for_may_be_nan():
    backend, context = simulated("nonlinear", 4)
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    targets = np.full((4, 4), np.nan)
    targets[1, 2] = 5e-5
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(targets, mask), context)
    assert outcome["outcome"][1, 2] == Outcome.OK
    assert outcome["n_cells"] == 1


def test_a_block_erase_before_writing_brings_three_terminal_cells_down():
    backend, context = simulated("gated-schottky", 4, g0=9e-9)
    settings = WriteVerify(erase_first=True)
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(3e-9, None, settings), context)
    assert (outcome["outcome"] == Outcome.OK).all()
    assert np.nanmax(outcome["g_start_siemens"]) < 3e-9


@pytest.mark.parametrize("parallel", [True, False])
def test_write_verify_works_on_a_backend_that_senses_one_line_at_a_time(parallel):
    mimic = Capabilities(parallel_sense=parallel, max_steps=40, max_block_s=1e-3)
    backend, context = simulated("nonlinear", 8, mimic=mimic)
    with backend:
        outcome = run_on(backend, WriteVerifyProcedure(5e-5), context)
    assert (outcome["outcome"] == Outcome.OK).mean() >= 0.95


def test_the_limits_of_an_operating_point_allow_its_own_write_verify():
    backend, context = simulated("nonlinear", 4)
    limits = limits_of(context.op)
    backend, context = simulated("nonlinear", 4, limits=limits)
    with backend:
        outcome = run_on(backend, LIBRARY.load("write-verify"), context)
    assert (outcome["outcome"] == Outcome.OK).all()
