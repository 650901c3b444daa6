"""Protocols run end to end on simulated arrays of every cell kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hil_protocols.loader import parse
from hil_protocols.provider import LibraryProvider
from protocol_arrays import limits_of, run_on, simulated

from hil.capabilities import Capabilities, Range
from hil.errors import ProtocolError
from hil.limits import SafetyLimits
from hil.phases.forming import Forming, form
from hil.phases.verify import Outcome, WriteVerify, WriteVerifyProcedure, outcome_counts
from hil.procedure import Procedure

LIBRARY = LibraryProvider()
KINDS = ["nonlinear", "hfox", "gated-schottky"]


def within(outcome: dict, tolerance: float) -> float:
    return float(
        (np.abs(outcome["g_final_siemens"] - outcome["target_siemens"]) <= tolerance).mean()
    )


@pytest.mark.parametrize("name", ["write-verify", "write-verify-ispp", "write-verify-width"])
@pytest.mark.parametrize("preset", KINDS)
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


# -- forming ------------------------------------------------------------------------------------


def test_forming_stops_per_cell_and_leaves_the_conductance_that_the_gate_allows():
    backend, context = simulated("hfox-pristine", 8)
    with backend:
        outcome = run_on(backend, LIBRARY.load("forming"), context)
    assert (outcome["outcome"] == "ok").all()
    # 40 uA at the gate level of forming, 1 V of compliance voltage.
    assert outcome["g_after_siemens"] == pytest.approx(np.full((8, 8), 40e-6), rel=0.1)
    assert 1.7 < outcome["formed_v"].min() < 2.2 < outcome["formed_v"].max() < 3.0
    assert len(np.unique(outcome["formed_v"])) > 5
    assert (outcome["pulses"] == np.rint((outcome["formed_v"] - 1.5) / 0.12) + 1).all()


def test_forming_by_line_compliance_leaves_what_the_compliance_allows():
    backend, context = simulated("hfox-pristine", 4)
    procedure = parse(
        'schema = 1\nkind = "forming"\nlimit_by = "line"\ncompliance = "20 uA"\n'
        'gate_voltage = "3 V"\n'
    )
    with backend:
        outcome = run_on(backend, procedure, context)
    assert (outcome["outcome"] == "ok").all()
    assert outcome["g_after_siemens"] == pytest.approx(np.full((4, 4), 20e-6), rel=0.1)


def test_forming_says_which_cells_stay_pristine_and_which_meet_a_limit():
    backend, context = simulated("hfox-pristine", 8)
    with backend:
        low = run_on(backend, _Form(Forming(stop_v=2.3, compliance_a=np.inf)), context)
    assert set(np.unique(low["outcome"])) == {"ok", "not_formed"}
    assert np.isnan(low["formed_v"][low["outcome"] == "not_formed"]).all()
    backend, context = simulated("hfox-pristine", 8, limits=SafetyLimits(device_v=Range(-2.0, 2.3)))
    with backend:
        limited = run_on(backend, _Form(Forming(compliance_a=np.inf)), context)
    assert set(np.unique(limited["outcome"])) == {"ok", "limit"}


def test_a_formed_cell_is_left_alone():
    backend, context = simulated("hfox", 4)
    with backend:
        outcome = run_on(backend, LIBRARY.load("forming"), context)
    assert (outcome["outcome"] == "ok").all()
    assert (outcome["pulses"] == 0).all()
    assert (outcome["formed_v"] == 0).all()


class _Form(Procedure):
    name = kind = "forming"
    adaptive = True

    def __init__(self, settings: Forming) -> None:
        self.settings = settings

    def steps(self, context):
        return form(context, None, self.settings)


# -- characterisation ---------------------------------------------------------------------------


@pytest.mark.parametrize("preset", KINDS)
def test_ltp_ltd_rises_and_falls(preset):
    backend, context = simulated(preset)
    with backend:
        outcome = run_on(backend, LIBRARY.load("ltp-ltd"), context)
    g = outcome["g_siemens"].mean(axis=1)
    start, top = outcome["polarity"] == 0, (outcome["polarity"] == 1) & (outcome["pulse"] == 50)
    assert g[top].min() > 1.5 * g[start].max()
    bottom = (outcome["polarity"] == -1) & (outcome["pulse"] == outcome["pulse"][-1])
    assert (g[bottom] < 0.75 * g[top]).all()
    assert outcome["g_siemens"].shape == (outcome["cycle"].size, 64)


def test_an_ideal_device_answers_in_equal_steps():
    backend, context = simulated("ideal", 4)
    with backend:
        outcome = run_on(backend, LIBRARY.load("ltp-ltd"), context)
    up = outcome["g_siemens"][:51]
    steps = np.diff(up, axis=0)
    assert steps == pytest.approx(np.full(steps.shape, steps.mean()), rel=1e-6)


def test_pulse_map_shows_the_threshold():
    backend, context = simulated("nonlinear")
    procedure = parse(
        'schema = 1\nkind = "pulse-map"\nsample = 16\namplitudes = ["1.1 V", "1.6 V", "2 V"]\n'
        'widths = ["1 us"]\npulses = 10\nreset_pulses = 300\n'
    )
    with backend:
        outcome = run_on(backend, procedure, context)
    moved = [
        float(
            (
                outcome["g_siemens"][(outcome["amplitude_v"] == v) & (outcome["pulse"] == 10)]
                - outcome["g_siemens"][(outcome["amplitude_v"] == v) & (outcome["pulse"] == 0)]
            ).mean()
        )
        for v in (1.1, 1.6, 2.0)
    ]
    assert abs(moved[0]) < 2e-8  # below the threshold of 1.2 V: read noise only
    assert moved[2] > 1.5 * moved[1] > 1e-7


def test_an_iv_sweep_of_an_ohmic_device_is_its_conductance_times_the_voltage():
    backend, context = simulated("ideal", 4, g0=4e-6)
    for path in ("read", "write"):
        procedure = parse(
            f'schema = 1\nkind = "iv-sweep"\npath = "{path}"\nthere_and_back = true\n'
            "cells = [[0, 0], [2, 3]]\n"
            'voltages = { start = "-0.1 V", stop = "0.1 V", step = "50 mV" }\n'
        )
        with backend:
            outcome = run_on(backend, procedure, context)
        assert outcome["voltage_v"] == pytest.approx(
            [-0.1, -0.05, 0, 0.05, 0.1, 0.05, 0, -0.05, -0.1], abs=1e-12
        )
        expected = 4e-6 * outcome["voltage_v"][:, None] * np.ones((1, 2))
        if path == "write":  # the other rows of the column carry half of the voltage
            expected = expected * (1 + 3 / 2)
        assert outcome["current_a"] == pytest.approx(expected, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("preset", KINDS)
def test_forward_of_unit_vectors_is_the_read_map_and_backward_its_transpose(preset):
    backend, context = simulated(preset, 8)
    with backend:
        run_on(backend, WriteVerifyProcedure(_spread(context)), context)
        many = 'schema = 1\nkind = "read-map"\nread_repeat = 40\n'
        g = run_on(backend, parse(many), context)["g_last_siemens"]
        forward = run_on(backend, LIBRARY.load("forward"), context)["sum_siemens"]
        backward = run_on(backend, LIBRARY.load("backward"), context)["sum_siemens"]
    assert forward == pytest.approx(g, rel=0.08)
    if context.capabilities.reciprocal:
        assert backward == pytest.approx(g.T, rel=0.08)


def _spread(context):
    op = context.op
    levels = np.linspace(0.3, 0.9, 64).reshape(8, 8)
    return op.g_min_siemens + levels * (op.g_max_siemens - op.g_min_siemens)


def test_weighted_sums_of_forward_and_backward_are_one_matrix_and_its_transpose():
    backend, context = simulated("ideal", 8)
    text = 'schema = 1\nkind = "{}"\noutput = "weighted-sum"\n'
    with backend:
        run_on(backend, WriteVerifyProcedure(_spread(context)), context)
        w = run_on(backend, parse(text.format("forward")), context)["weighted_sum"]
        wt = run_on(backend, parse(text.format("backward")), context)["weighted_sum"]
    assert w.shape == (8, 4)
    assert wt == pytest.approx(w.T, rel=1e-6, abs=1e-9)
    assert np.abs(w).max() > 0.01


@pytest.mark.parametrize("mimic", [Capabilities(per_line_width=False, max_steps=7),
                                   Capabilities(parallel_sense=False, max_steps=9)])  # fmt: skip
def test_products_are_the_same_through_an_equivalent_lowering(mimic):
    text = 'schema = 1\nkind = "{}"\npattern = "random"\nbatch = 6\n'
    for kind, key in (("forward", "inputs"), ("backward", "errors")):
        results = []
        for caps in (None, mimic):
            backend, context = simulated("ideal", 4, mimic=caps)
            with backend:
                run_on(backend, WriteVerifyProcedure(_spread(context)[::2, ::2]), context)
                results.append(run_on(backend, parse(text.format(kind)), context))
        assert np.array_equal(results[0][key], results[1][key])
        whole, lowered = results[0]["sum_siemens"], results[1]["sum_siemens"]
        assert np.abs(lowered - whole).max() < 1e-6 * np.abs(whole).max()
        assert results[1]["lowering"]


def test_update_moves_the_plus_devices_for_positive_errors():
    backend, context = simulated("nonlinear", 8)
    procedure = parse(
        'schema = 1\nkind = "update"\nx = [1.0]\nd = [0.8, -0.8, 0.4, 0.0]\nslots = 50\n'
    )
    with backend:
        outcome = run_on(backend, procedure, context)
    moved = (outcome["g_siemens"][-1] - outcome["g_siemens"][0]).reshape(8, 8).mean(axis=0)
    assert moved[0] > moved[4] > 1e-6  # plus columns of outputs 0 and 2
    assert moved[3] > 1e-6  # minus column of output 1
    assert np.abs(moved[[1, 2, 5, 6, 7]]).max() < 2e-7
    assert outcome["worst_half_select_v"] == pytest.approx(1.0)


@pytest.mark.parametrize("preset", KINDS)
def test_refresh_keeps_differences_and_makes_room(preset):
    backend, context = simulated(preset, 8)
    low, high = context.op.g_min_siemens, context.op.g_max_siemens
    targets = np.full((8, 8), low + 0.7 * (high - low))
    targets[:, 1::2] = low + 0.3 * (high - low)
    targets[4:] = low + 0.2 * (high - low)  # these pairs have room left
    with backend:
        run_on(backend, WriteVerifyProcedure(targets), context)
        outcome = run_on(backend, LIBRARY.load("refresh"), context)
    window = high - low
    assert outcome["refreshed"][:4].all()
    assert not outcome["refreshed"][4:].any()
    assert outcome["n_clipped"] == 0
    difference = outcome["difference_after_siemens"] - outcome["difference_before_siemens"]
    assert np.abs(difference).max() < 0.08 * window
    assert np.median(np.abs(difference)) < 0.03 * window
    upper = np.nanmax(outcome["g_final_siemens"][:4])
    assert upper < low + 0.5 * window


def test_pair_init_brings_all_pairs_to_one_common_mode():
    backend, context = simulated("nonlinear", 8)
    with backend:
        outcome = run_on(backend, LIBRARY.load("pair-init"), context)
    op = context.op
    window = op.g_max_siemens - op.g_min_siemens
    target = op.g_min_siemens + 0.1 * window
    assert outcome["n_ok"] == 64
    assert np.abs(outcome["common_mode_siemens"] - target).max() <= 0.02 * window
    assert np.abs(outcome["mismatch_siemens"]).max() <= 0.04 * window


def test_half_select_disturb_shows_in_the_neighbours_where_the_physics_has_no_threshold():
    backend, context = simulated("nonlinear", 8)
    calm = replace(context, op=replace(context.op, potentiate_v=2.0))
    harsh = replace(context, op=replace(context.op, inhibit="ground"))
    with backend:
        outcome = run_on(backend, LIBRARY.load("half-select-disturb"), calm)
        with pytest.raises(ProtocolError, match="ground scheme"):
            LIBRARY.load("half-select-disturb").steps(harsh)
    moved = outcome["g_siemens"][-1] - outcome["g_siemens"][0]
    half = outcome["half_selected"]
    assert half.sum() == 14
    assert moved[0] > 5e-5  # the aggressor
    assert np.abs(moved[1:]).max() < 1e-6  # V/2 is below the threshold of 1.2 V
    backend, context = simulated("nonlinear", 8)
    strong = replace(context, op=replace(context.op, potentiate_v=3.0))
    with backend:
        outcome = run_on(backend, LIBRARY.load("half-select-disturb"), strong)
    moved = outcome["g_siemens"][-1] - outcome["g_siemens"][0]
    assert moved[half].min() > 1e-5  # 1.5 V on half-selected cells
    assert np.abs(moved[~half][1:]).max() < 1e-6


def test_the_limits_of_an_operating_point_allow_its_own_write_verify():
    backend, context = simulated("nonlinear", 4)
    limits = limits_of(context.op)
    backend, context = simulated("nonlinear", 4, limits=limits)
    with backend:
        outcome = run_on(backend, LIBRARY.load("write-verify"), context)
    assert (outcome["outcome"] == Outcome.OK).all()
