from __future__ import annotations

import json

import numpy as np
import pytest
from made_runs import crash, empty_run

from hil.measurement import Status
from hil.program import Phase
from hil.record import open_run
from hil.report import curves, pulse_curves
from hil.report.devices import Trains, device_rows, reading_status
from hil.report.gather import gather
from hil.report.learning import Confusion, confusion
from hil.report.recorded import open_recorded


def outcome_of(run):
    with np.load(run / "checkpoints" / "outcome.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_pulse_curves_are_those_of_the_outcome(library):
    outcome = outcome_of(library["ltp"])
    curve = gather(library["ltp"]).ltp_ltd[""]
    assert curve.g_siemens.shape == (4, 13, 3)  # cycles, points, cells
    assert curve.pulse.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert curve.n_up == 12
    third = (outcome["cycle"] == 2) & (outcome["polarity"] == -1) & (outcome["pulse"] == 4)
    assert np.array_equal(curve.g_siemens[2, 8], outcome["g_siemens"][third][0])
    assert np.array_equal(curve.cells[:, 0], outcome["row"])


def test_a_crashed_run_gives_the_same_curves_from_its_pulse_rows(library, tmp_path):
    whole = gather(library["ltp"]).ltp_ltd[""]
    rows = gather(crash(library.copy("ltp", tmp_path))).ltp_ltd[""]
    assert np.array_equal(rows.pulse, whole.pulse)
    assert np.array_equal(rows.cells, whole.cells)
    assert np.isfinite(rows.g_siemens).all()
    assert rows.g_siemens[:, :-1] == pytest.approx(whole.g_siemens[:, :-1], rel=1e-6)
    # The end of a cycle is read twice, as its last point and as the first of the next cycle; rows
    # keep the later reading. The noise of a reading is 1 %.
    assert rows.g_siemens[:, -1] == pytest.approx(whole.g_siemens[:, -1], rel=0.08)


def trains(device, v, count, g1, g0=None):
    n = len(v)
    return Trains(
        np.full(n, device), np.array(v, "f4"), np.array(count, "u4"),
        np.full(n, np.nan, "f4") if g0 is None else np.array(g0, "f4"), np.array(g1, "f4"),
    )  # fmt: skip


def test_a_cycle_cut_short_keeps_what_was_read_of_it():
    up, down = [1.0] * 3, [-1.0] * 3
    v = up + down + up[:2]
    g = [1, 2, 3, 2, 1, 0, 1.5, 2.5]
    curve = pulse_curves.ltp_ltd_from_trains(trains(5 << 16 | 7, v, [1] * 8, g), 0)
    assert curve.cells.tolist() == [[5, 7]]
    assert curve.pulse.tolist() == [1, 2, 3, 4, 5, 6]
    assert curve.g_siemens[0, :, 0].tolist() == [1, 2, 3, 2, 1, 0]
    assert np.array_equal(curve.g_siemens[1, :, 0], [1.5, 2.5] + [np.nan] * 4, equal_nan=True)


def test_pulses_before_the_first_potentiation_are_no_cycle():
    v = [-2.0] + [2.0] * 4 + [-2.0] * 4
    g = [0.5, 1, 2, 3, 4, 3, 2, 1, 0]
    count = [512, 1, 1, 1, 1, 1, 1, 1, 1]
    g0 = [np.nan, 0.5, 1, 2, 3, 4, 3, 2, 1]
    curve = pulse_curves.ltp_ltd_from_trains(trains(0, v, count, g, g0), 0)
    assert curve.g_siemens[:, :, 0].tolist() == [[0.5, 1, 2, 3, 4, 3, 2, 1, 0]]
    assert curve.pulse.tolist() == list(range(9))


def test_pulses_of_one_sign_alone_are_no_cycle():
    assert pulse_curves.ltp_ltd_from_trains(trains(0, [-1.0] * 5, [1] * 5, [1] * 5), 0) is None
    assert pulse_curves.ltp_ltd_from_trains(trains(0, [1.0], [1], [1.0]), 0) is None


def test_spreads_are_standard_deviations_of_the_settled_cycles(rng):
    c2c, d2d = 2.0, 5.0
    g = 100.0 + rng.normal(0, d2d, (1, 1, 300)) + rng.normal(0, c2c, (41, 6, 300))
    g[0] += 1e4  # the first cycle starts from elsewhere
    curve = pulse_curves.LtpLtd(np.arange(6), 3, g, np.zeros((300, 2), dtype=np.int64))
    assert curve.c2c_siemens == pytest.approx(c2c, rel=0.03)
    assert curve.d2d_siemens == pytest.approx(np.hypot(d2d, c2c / np.sqrt(40)), rel=0.12)
    assert curve.mean_siemens == pytest.approx(100.0, abs=1.5)


def test_shares_of_the_window_follow_from_the_mean_curve():
    g = np.array([1.0, 3.0, 5.0, 3.0, 1.0])[None, :, None] + np.array([0.0, 0.2])[:, None, None]
    curve = pulse_curves.LtpLtd(np.arange(5), 2, g, np.zeros((1, 2), dtype=np.int64))
    numbers = curve.numbers()
    assert numbers["low_siemens"] == pytest.approx(1.1)
    assert numbers["ratio"] == pytest.approx(5.1 / 1.1)
    assert numbers["c2c"] == pytest.approx(np.std([0.0, 0.2], ddof=1) / 4.0)
    assert "d2d" not in numbers  # one device


def test_an_erase_in_place_of_depression_is_said():
    outcome = {
        "cycle": np.zeros(4, "i8"), "pulse": np.array([0, 1, 2, 1]),
        "polarity": np.array([0, 1, 1, -1]), "g_siemens": np.array([[1.0], [2.0], [3.0], [0.5]]),
        "row": np.array([0]), "col": np.array([0]),
    }  # fmt: skip
    curve = pulse_curves.ltp_ltd(outcome)
    assert curve.erased
    assert curve.pulse.tolist() == [0, 1, 2, 3]
    assert curve.g_siemens[0, :, 0].tolist() == [1.0, 2.0, 3.0, 0.5]


def test_other_protocols_keep_their_numbers(library):
    outcome = outcome_of(library["iv"])
    sweep = gather(library["iv"]).iv
    assert np.array_equal(sweep.current_a, outcome["current_a"])
    assert not sweep.switching
    outcome = outcome_of(library["retention"])
    kept = gather(library["retention"])
    assert np.array_equal(kept.retention.g_siemens, outcome["g_siemens"])
    change = np.median(outcome["g_siemens"][-1] / outcome["g_siemens"][0] - 1)
    assert kept.numbers["median change after 9 s"][1] == pytest.approx(change)
    outcome = outcome_of(library["endurance"])
    ends = gather(library["endurance"]).endurance
    assert ends.cycle.tolist() == np.unique(outcome["cycle"]).tolist()
    last = outcome["g_siemens"][outcome["cycle"] == 30]
    assert np.array_equal(ends.high_siemens[-1], last[0])
    assert np.array_equal(ends.low_siemens[-1], last[1])
    outcome = outcome_of(library["pulse-map"])
    responses = gather(library["pulse-map"]).pulse_map
    point = (outcome["amplitude_v"] == responses.amplitude_v[-1]) & (
        outcome["width_s"] == responses.width_s[0]
    )
    g = outcome["g_siemens"].mean(axis=1)[point]
    assert responses.change_siemens[-1, 0] == pytest.approx(g[-1] - g[0])
    assert responses.pulses == 3


def test_a_loop_of_a_switching_device_is_told_from_a_plain_sweep():
    v = np.array([0.0, 1.0, 2.0, 1.0, 0.0])
    cells = np.zeros((1, 2), dtype=np.int64)
    assert curves.IvCurve(v, np.array([[0.0], [1], [4], [3], [0]]), cells).switching
    assert not curves.IvCurve(v, np.array([[0.0], [1], [4], [1.05], [0]]), cells).switching
    assert not curves.IvCurve(np.arange(4.0), np.ones((4, 1)), cells).switching


def test_disturbed_cells_are_grouped_by_the_lines_they_share(library):
    found = gather(library["disturb"]).disturb
    outcome = outcome_of(library["disturb"])
    group = dict(zip(zip(outcome["row"], outcome["col"], strict=True), found.group, strict=True))
    assert group[2, 1] == 2
    assert group[2, 0] == group[0, 1] == 1
    assert group[0, 0] == 0
    assert (found.change[0] == 0).all()


def test_maps_show_before_after_target_and_error(library):
    outcome = outcome_of(library["verify"])
    (maps,) = gather(library["verify"]).maps
    assert np.array_equal(maps.before, outcome["g_start_siemens"])
    assert np.array_equal(maps.after, outcome["g_final_siemens"])
    assert np.array_equal(maps.error, outcome["g_final_siemens"] - outcome["target_siemens"])
    assert np.nanmax(np.abs(maps.error)) <= 0.02 * 99e-6


def test_rows_sum_up_to_what_the_ledger_counted(library):
    recorded = open_recorded(library["ltp"])
    rows = device_rows(recorded)
    ledger = recorded.checkpoint("ledger")
    assert rows.rows == recorded.run.pulses.num_rows
    assert rows.pulses == ledger["selected_plus"].sum() + ledger["selected_minus"].sum()
    shape = rows.maps[0].plus.shape  # up to the last device that was driven
    part = tuple(slice(n) for n in shape)
    assert np.array_equal(rows.maps[0].plus, ledger["selected_plus"][part])
    assert np.array_equal(rows.maps[0].minus, ledger["selected_minus"][part])
    assert rows.maps[0].stress_s.sum() == pytest.approx(rows.pulses * 1e-6)
    last = outcome_of(library["ltp"])["g_last_siemens"][part]
    assert rows.maps[0].last_siemens == pytest.approx(last, rel=1e-6, nan_ok=True)


def test_the_first_and_the_last_conductance_of_a_device_stay_apart(tmp_path):
    nan = np.nan
    with empty_run(tmp_path) as folder:
        for _ in range(2):  # a second batch must not change what came first
            folder.pulses({
                "op": 1, "phase": Phase.PROGRAM, "row": [3, 3, 0], "col": [1, 1, 0],
                "v": [1, 1, -1], "width": 1e-3, "count": [2, 3, 4],
                "g0": [nan, 5.0, nan], "g1": [4.0, 6.0, nan],
            })  # fmt: skip
            folder.barrier()
    maps = device_rows(open_recorded(folder.path)).maps[0]
    assert maps.plus.tolist() == [[0, 0], [0, 0], [0, 0], [0, 10]]
    assert maps.minus[0, 0] == 8
    assert maps.stress_s[3, 1] == pytest.approx(10e-3)
    assert (maps.first_siemens[3, 1], maps.last_siemens[3, 1]) == (4.0, 6.0)
    assert np.isnan(maps.first_siemens[0, 0])


def test_compliance_is_counted_per_device_and_per_status(tmp_path):
    hit = int(Status.I_COMPLIANCE | Status.SIMULATED)
    with empty_run(tmp_path) as folder:
        folder.pulses({
            "op": 1, "phase": Phase.PROGRAM, "row": [0, 1, 1], "col": [0, 1, 1], "v": 1.0,
            "width": 1e-6, "count": 1, "status": [int(Status.SIMULATED), hit, hit],
        })  # fmt: skip
        folder.event("limit", what="compliance", lines=["WL1", "BL1"], steps=list(range(50)))
    content = gather(folder.path)
    (maps,) = content.compliance.values()
    assert maps.compliance.tolist() == [[0, 0], [0, 2]]
    tables = {table.title: table for table in content.tables}
    assert tables["Rows that carry a status"].rows == (("i compliance", "0", "2"),)
    told = tables["Compliance, limits and faults"].rows[0][2]
    assert told.startswith(
        "compliance; lines WL1, BL1; steps 0, 1, 2, 3, 4, 5, 6, 7, … (50 in all)"
    )


def test_readings_are_counted_by_what_they_say(library):
    recorded = open_recorded(library["ltp"])
    n, status = reading_status(recorded)
    assert n == recorded.run.reads.num_rows
    assert status == {}


def test_a_training_gives_its_epochs_the_float_reference_and_the_confusion(library):
    content = gather(library["train"])
    events = open_run(library["train"]).events
    epochs = [e for e in events if e["kind"] == "epoch"]
    (curve,) = content.learning
    assert curve.epoch.tolist() == [1, 2]
    assert curve.test_accuracy.tolist() == [e["test_accuracy"] for e in epochs]
    assert curve.write_pulses.tolist() == [e["write_pulses"] for e in epochs]
    (reference,) = (e for e in events if e["kind"] == "float")
    assert curve.float_accuracy.tolist() == reference["test_accuracy"]
    assert content.confusion.accuracy == pytest.approx(epochs[-1]["test_accuracy"])
    with np.load(library["train"] / "checkpoints" / "predictions.npz") as kept:
        for label in range(10):
            own = kept["predicted"][kept["labels"] == label]
            assert content.confusion.counts[label].sum() == own.size
            assert content.confusion.counts[label, label] == (own == label).sum()
    assert content.ltp_ltd  # the characterisation
    assert {m.array for m in content.maps} == {"main"}


def test_an_epoch_that_was_done_again_counts_once_as_it_was_last(library, tmp_path):
    run = library.copy("train", tmp_path)
    again = {"t_ns": 9, "kind": "epoch", "epoch": 1, "test_accuracy": 0.5, "train_loss": "nan"}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    (curve,) = gather(run).learning
    assert curve.epoch.tolist() == [1, 2]
    assert curve.test_accuracy[1] == 0.5
    assert np.isnan(curve.train_loss[1])


def test_confusion_keeps_classes_without_samples():
    found = confusion({"labels": np.array([0, 0, 2]), "predicted": np.array([0, 2, 2])})
    assert found.counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert found.accuracy == pytest.approx(2 / 3)
    assert np.isnan(found.shares[1]).all()
    assert confusion({}) is None
    assert confusion({"labels": np.array([-1]), "predicted": np.array([0])}) is None
    assert isinstance(found, Confusion)


def test_exposure_is_the_ledgers_where_there_is_one(library, tmp_path):
    (received,) = gather(library["endurance"]).exposure
    ledger = open_recorded(library["endurance"]).checkpoint("ledger")
    assert received.from_ledger
    assert np.array_equal(received.counts["half-selected"], ledger["half_selected"])
    assert np.array_equal(received.counts["read"], ledger["reads"])
    assert np.array_equal(received.stress["time under write pulses", "s"], ledger["stress_s"])
    assert np.array_equal(received.stress["energy", "J"], ledger["energy_joule"], equal_nan=True)
    (rows,) = gather(crash(library.copy("endurance", tmp_path))).exposure
    assert not rows.from_ledger
    assert rows.counts["selected, +"].sum() == ledger["selected_plus"].sum()


def test_what_a_run_has_no_data_for_is_named(library):
    missing = gather(library["iv"]).missing
    assert {"ltp_ltd", "retention", "endurance", "learning", "confusion"} <= set(missing)
    assert "iv" not in missing
    assert "`retention`" in missing["retention"]
