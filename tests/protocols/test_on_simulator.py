"""Protocols run end to end on simulated arrays of every cell kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hil_protocols.loader import parse
from protocol_arrays import LIBRARY, PRESETS, run_on, simulated

from hil.capabilities import Capabilities
from hil.errors import ProtocolError
from hil.phases.verify import WriteVerifyProcedure


@pytest.mark.parametrize("preset", PRESETS)
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


@pytest.mark.parametrize("preset", PRESETS)
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


@pytest.mark.parametrize("preset", PRESETS)
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
