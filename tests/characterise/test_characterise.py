"""A characterisation: its parts, what it goes on from, and the devices that it leaves out."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from characterising import STATION, SUITE, go, lab

from hil.errors import ConfigError, EnduranceError, LimitError, ProtocolError, RunInterrupted
from hil.record import open_run
from hil.record.characterisation import is_characterisation, open_characterisation

PARTS = ["noise", "curves", "map", "disturb", "end"]


def outcome(run):
    with np.load(run / "checkpoints" / "outcome.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_every_part_is_an_ordinary_run_that_is_done_by_its_stop_record(tmp_path):
    plans, told, index = go(lab(tmp_path))
    assert [plan.name for plan in plans] == told.begun == told.ended == PARTS
    assert is_characterisation(index.path)
    found = open_characterisation(index.path)
    assert [part.kind for part in found.parts] == [
        "read-map", "ltp-ltd", "pulse-map", "half-select-disturb", "endurance"
    ]  # fmt: skip
    for part in found.parts:
        run = open_run(part.run)
        assert run.status == "done"
        assert run.path.parent == (tmp_path / "runs").resolve()
        assert run.verify() == ()
        assert run.manifest["meta"]["protocol"] == part.name
    assert outcome(found.parts[0].run)["g_siemens"].shape == (6, 24)
    assert outcome(found.parts[1].run)["g_siemens"].shape == (2 * 61, 24)
    (tmp_path / "runs" / "characterisations" / found.parts[3].name).mkdir()  # no run: harmless
    assert found.left_out == []


def test_the_plan_counts_what_is_then_driven(tmp_path):
    plans, _, index = go(lab(tmp_path))
    for plan, part in zip(plans, index.parts, strict=True):
        with np.load(part.run / "checkpoints" / "ledger.npz") as ledger:
            selected = ledger["selected_plus"].astype(int) + ledger["selected_minus"]
            half = ledger["half_selected"]
        assert plan.device_pulses == selected.sum(), plan.name
        assert plan.pulses == selected.max(), plan.name
        assert plan.half_selects == half.max(), plan.name
        np.testing.assert_array_equal(plan.selected, selected)


def test_a_part_that_is_done_is_not_driven_again(tmp_path):
    go(lab(tmp_path))
    plans, told, index = go(tmp_path)
    assert [plan.state for plan in plans] == ["done"] * 5
    assert (told.begun, told.blocks) == ([], 0)
    assert [len(part.runs) for part in index.parts] == [1] * 5


@pytest.mark.parametrize("part", ["curves", "end"])
def test_one_that_was_stopped_costs_the_open_part_and_ends_like_one_that_was_not(tmp_path, part):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, _, whole = go(lab(tmp_path / "a"))
    with pytest.raises(RunInterrupted) as caught:
        go(lab(tmp_path / "b"), stop_in=part)
    assert any("goes on" in note for note in caught.value.__notes__)
    plans, told, index = go(tmp_path / "b")
    before = PARTS.index(part)
    assert [plan.state for plan in plans] == ["done"] * before + ["to do"] * (5 - before)
    assert told.begun == PARTS[before:]
    assert [len(p.runs) for p in index.parts] == [1 + (name == part) for name in PARTS]
    for one, other in zip(whole.parts, index.parts, strict=True):
        ours, theirs = outcome(one.run), outcome(other.run)
        for name, values in ours.items():
            np.testing.assert_array_equal(theirs[name], values, err_msg=f"{one.name} {name}")


def test_a_stuck_device_is_left_out_of_the_later_parts_and_the_reason_is_kept(tmp_path):
    _, _, index = go(lab(tmp_path, more="stuck_at_max = 0.2"))
    first = outcome(index.parts[1].run)
    span = first["g_siemens"].max(axis=0) - first["g_siemens"].min(axis=0)
    dull = {(int(r), int(c)) for r, c, s in zip(first["row"], first["col"], span, strict=True)
            if s < 2e-6}  # fmt: skip
    assert 1 <= len(dull) < 12
    assert {(e.row, e.col) for e in index.left_out} == dull
    assert {(e.part, e.rule) for e in index.left_out} == {("curves", "stuck")}
    assert all("moved by" in e.reason for e in index.left_out)
    for part in index.parts[2:]:
        later = outcome(part.run)
        assert not dull & set(zip(later["row"].tolist(), later["col"].tolist(), strict=True))
    with (index.path / "devices.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {(int(r["row"]), int(r["col"])) for r in rows if r["rule"] == "stuck"} == dull
    assert open_characterisation(index.path).left_out == index.left_out


def test_when_all_devices_are_stuck_the_later_parts_are_not_run(tmp_path):
    _, told, index = go(lab(tmp_path, more='stuck_at_value = 1.0\nstuck_value = "5 uS"'))
    assert told.begun == ["noise", "curves"]
    assert (len(index.left_out), index.remaining) == (24, [])
    plans, told, _ = go(tmp_path)
    assert told.begun == []
    assert [plan.state for plan in plans][2:] == ["left out"] * 3


def test_devices_out_of_range_are_left_out_by_the_first_read(tmp_path):
    window = 'g_min = "20 uS"\ng_max = "100 uS"'  # new devices are at 1 uS
    suite = SUITE.replace("[[part]]", "[stop]\nrange_factor = 2.0\n[[part]]", 1)
    _, told, index = go(lab(tmp_path, suite, more="read_noise = 0.01", window=window))
    assert told.begun == ["noise"]
    assert {(e.part, e.rule) for e in index.left_out} == {("noise", "out-of-range")}


def test_without_a_window_the_rules_that_need_one_are_not_applied(tmp_path):
    suite = SUITE.split('[[part]]\nname = "map"')[0]
    drive = (
        '[drive]\nread_voltage = "0.2 V"\npotentiate_voltage = "2 V"\ndepress_voltage = "-2 V"\n'
        'write_width = "1 us"\n'
    )
    _, told, index = go(lab(tmp_path, suite, more="stuck_at_max = 0.5", station=STATION + drive))
    assert told.begun == ["noise", "curves"]
    assert index.left_out == []


def test_devices_at_the_current_limit_are_left_out(tmp_path):
    text = lab(tmp_path, more="stuck_at_max = 0.2")
    device = (text / "device.toml").read_text().replace(
        "[variation]", "[variation]\nread_noise = 0.001"
    ).replace('write_width = "1 us"', 'write_width = "1 us"\ncompliance = "150 uA"')  # fmt: skip
    (text / "device.toml").write_text(device)
    _, _, index = go(text)
    assert "compliance" in {e.rule for e in index.left_out}


FORMED_FIRST = """
schema = 1
name = "formed"
[[part]]
name = "form"
protocol = "forming"
[[part]]
name = "noise"
protocol = "read-noise"
set = { reads = 4 }
"""


def test_pristine_devices_are_characterised_once_they_are_formed(tmp_path):
    station = STATION.replace("cols = 6", 'cols = 6\ncell = "1T1R"').split("[limits]")[0]
    lab(tmp_path, FORMED_FIRST, device="hfox-pristine", station=station)
    _, told, index = go(tmp_path)
    assert told.begun == ["form", "noise"]
    assert len(index.remaining) > 12
    (tmp_path / "suite.toml").write_text(
        'schema = 1\nname = "raw"\n[[part]]\nname = "noise"\nprotocol = "read-noise"\n'
    )
    _, _, index = go(tmp_path)
    assert index.remaining == []


def test_all_parts_together_must_fit_the_pulses_that_a_device_has_left(tmp_path):
    lab(tmp_path)
    with (tmp_path / "station.toml").open("a") as file:
        file.write("pulses_per_device = 250\n")  # every part alone stays below
    with pytest.raises(EnduranceError, match="with all parts"):
        go(tmp_path)
    assert list((tmp_path / "runs").glob("*/manifest.json")) == []


def test_pulses_of_a_chip_count_over_characterisations(tmp_path):
    lab(tmp_path)
    text = (tmp_path / "station.toml").read_text()
    text = text.replace('name = "bench"', 'name = "bench"\nchip = "W1"')
    (tmp_path / "station.toml").write_text(text + "pulses_per_device = 500\n")
    go(tmp_path)
    plans, _, _ = go(tmp_path)  # done: nothing is needed
    assert {plan.state for plan in plans} == {"done"}
    with pytest.raises(EnduranceError, match="so far"):
        go(tmp_path, name="again")


def test_cells_are_chosen_by_place_and_by_sample(tmp_path):
    _, _, index = go(lab(tmp_path), cells=("0-1,0-2", "3,5"))
    assert index.cells == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (3, 5)]
    (noise, curves, *_) = (outcome(part.run) for part in index.parts)
    assert len(noise["row"]) == len(curves["row"]) == 7
    disturbed = outcome(index.parts[3].run)
    assert len(disturbed["row"]) == 4 + 6 - 1  # the neighbours are those of the whole array
    _, _, index = go(tmp_path, sample=5, name="drawn")
    assert len(index.cells) == 5


def test_an_optional_part_that_the_station_cannot_do_is_left_out_with_its_reason(tmp_path):
    lab(tmp_path)
    with (tmp_path / "station.toml").open("a") as file:
        file.write('width = ["0.9 us", "1 ms"]\n')  # the map asks for half of 1 us
    plans, told, index = go(tmp_path)
    assert told.begun == ["noise", "curves", "disturb", "end"]
    assert "pulse width 5e-07 s" in plans[2].why
    assert index.parts[2].skipped == plans[2].why


FORMING = (
    '[[part]]\nname = "form"\nprotocol = "forming"\n'
    'set = { stop_voltage = "2 V", width = "1 us" }\n'
)


@pytest.mark.parametrize(
    ("change", "choice", "error", "text"),
    [
        ({}, {"cells": ("4,0",)}, ConfigError, "there is no row 4"),
        ({}, {"cells": ("0,0-9",)}, ConfigError, "there is no column 9"),
        ({}, {"cells": ("3-1,0",)}, ConfigError, "counts backwards"),
        ({}, {"cells": ("a,b",)}, ConfigError, "is not rows,columns"),
        ({}, {"sample": 25}, ConfigError, "25 devices asked for, 24 are there"),
        ({"dead": [[1, 1]]}, {"cells": ("1,1",)}, ConfigError, r"cell \(1, 1\) is dead"),
        ({"suite": ("ltp-ltd", "ltp-lts")}, {}, ProtocolError, "did you mean 'ltp-ltd'"),
        ({"suite": ("cycles = 2", "cycels = 2")}, {}, ProtocolError, "did you mean 'cycles'"),
        ({"suite": ("reads = 6", "cells = 6")}, {}, ConfigError, "is not for `set`"),
        ({"suite": ('"map"', '"end"')}, {}, ConfigError, "two parts are called 'end'"),
        ({"suite": ("[[part]]", FORMING + "[[part]]")}, {}, ProtocolError, "compliance"),
        ({"suite": ("cycles = 40", 'cycles = 40, potentiate_voltage = "3 V"')}, {}, LimitError,
         "against limit 2.5 V"),
        ({"suite": ('"endurance"', '"pair-init"')}, {}, ProtocolError, "unknown field"),
    ],
    ids=["row", "column", "backwards", "text", "sample", "dead", "protocol", "field", "cells",
         "twice", "forming", "limit", "no-cells"],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_driven(tmp_path, change, choice, error, text):
    suite = SUITE.replace(*change["suite"], 1) if "suite" in change else SUITE
    lab(tmp_path, suite)
    if "dead" in change:
        station = tmp_path / "station.toml"
        station.write_text(
            station.read_text().replace("cols = 6", f"cols = 6\ndead = {change['dead']}")
        )
    with pytest.raises(error, match=text):
        go(tmp_path, **choice)
    assert list((tmp_path / "runs").glob("*/manifest.json")) == []


def test_another_suite_station_or_choice_does_not_go_on_with_it(tmp_path):
    go(lab(tmp_path))
    with pytest.raises(ConfigError, match="begun with other devices; give --name"):
        go(tmp_path, cells=("0,0",))
    with pytest.raises(ConfigError, match="another seed"):
        go(tmp_path, seed=6)
    with (tmp_path / "station.toml").open("a") as file:
        file.write("# moved\n")
    (tmp_path / "suite.toml").write_text(SUITE.replace("reads = 6", "reads = 7"))
    with pytest.raises(ConfigError, match="another suite and another station file"):
        go(tmp_path)
