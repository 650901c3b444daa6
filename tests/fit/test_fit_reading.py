"""What is read of run folders for a fit, and what is said of those that cannot be used."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from recorded import bench, run

import hil.fit.reading as reading
from hil.errors import FitError, StoreError
from hil.fit.measured import COMPLIANCE
from hil.fit.reading import read_measured
from hil.record import open_run
from hil.record.characterisation import Characterisation, PartRuns


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("reading"), variation="step_c2c = 0.1\nread_noise = 0.01")


@pytest.fixture(scope="module")
def curves(folder):
    return run(folder, "ltp-ltd", cycles=3, pulses=20)


def test_every_pulse_becomes_one_response_with_the_reads_around_it(curves):
    source = read_measured([curves])
    r = source.measured.responses
    assert (r.n, r.n_devices, source.cycles) == (16 * 3 * 40, 16, 3)
    assert r.good.all()
    assert not source.warnings
    outcome = next(c for c in open_run(curves).checkpoints if c.name == "outcome").load()
    g = outcome["g_siemens"].reshape(3, 41, 16)
    for device in (0, 7, 15):
        for cycle in range(3):
            own = (r.device == device) & (r.cycle == cycle)
            assert list(r.polarity[own]) == [1] * 20 + [-1] * 20
            assert r.before_siemens[own] == pytest.approx(g[cycle, :-1, device], rel=1e-6)
            assert r.after_siemens[own][:-1] == pytest.approx(g[cycle, 1:-1, device], rel=1e-6)


def test_chains_are_branches_and_reads_within_them_are_shared(curves):
    r = read_measured([curves]).measured.responses
    assert r.chain.max() + 1 == 16 * 3 * 2
    same = r.chain[1:] == r.chain[:-1]
    assert (r.before_siemens[1:][same] == r.after_siemens[:-1][same]).all()


def test_reads_between_cycles_tell_the_read_noise(curves):
    rests = read_measured([curves]).measured.rests
    assert rests.device.size == 2 * 16 * 2
    pairs = rests.g_siemens.reshape(-1, 2)
    assert (np.diff(pairs) / pairs.mean(axis=1, keepdims=True)).std() == pytest.approx(
        0.01 * np.sqrt(2), rel=0.5
    )


def test_a_read_after_several_pulses_is_one_response_to_all_of_them(folder):
    r = read_measured([run(folder, "ltp-ltd", cycles=1, pulses=20, read_every=4)])
    assert set(r.measured.responses.pulses) == {4}


def test_cell_by_cell_gives_the_same_columns(folder):
    r = read_measured([run(folder, "ltp-ltd", cycles=2, pulses=10, order="cell")])
    assert (r.measured.responses.n, r.cycles) == (16 * 2 * 20, 2)
    assert r.measured.responses.good.all()


def test_further_runs_add_to_the_curves_by_cell(folder, curves):
    found = read_measured([
        run(folder, "retention", cells=[[1, 2]], times=["1 s", "10 s"]),
        run(folder, "pulse-map", cells=[[0, 1], [3, 3]], pulses=2, reset_pulses=40),
        curves,
        run(folder, "read-map", read_repeat=2),
        run(folder, "half-select-disturb", pulses=20, read_every=10),
    ]).measured  # fmt: skip
    assert set(found.retentions.device) == {6}
    assert set(found.pulse_maps.device) == {1, 15}
    assert set(found.pulse_maps.pulses) == {0, 1, 2}
    assert found.disturbs[0].kind == "half-select"
    assert found.disturbs[0].half_selected.mean() == pytest.approx(6 / 16)
    assert found.rests.device.size == 2 * 16 * 2 + 16


def test_the_parts_of_a_characterisation_are_read_by_what_they_are(folder, curves):
    parts = [
        PartRuns("curves", "ltp-ltd", [folder / "runs" / "lost", curves]),
        PartRuns("noise", "read-map", [run(folder, "read-map", read_repeat=4)]),
        PartRuns("hold", "retention", []),
        PartRuns("wear", "endurance", [run(folder, "endurance", cycles=3)]),
    ]
    place = folder / "suite"
    place.mkdir()
    Characterisation(place, {"name": "suite"}, [(0, 0)], parts).write()
    source = read_measured([place])
    assert [r.kind for r in source.runs] == ["ltp-ltd", "read-map"]
    assert source.measured.responses.n == 16 * 3 * 40
    assert source.warnings == [f"{place}: part hold is not done and is not used"]


def test_two_runs_of_the_same_devices_count_their_cycles_on(folder, curves):
    source = read_measured([curves, curves])
    assert source.cycles == 6
    assert source.measured.responses.chain.max() + 1 == 16 * 6 * 2


def test_a_run_of_another_protocol_is_refused_with_what_to_run(folder):
    other = run(folder, "read-map")
    with pytest.raises(FitError, match=r"a run of read-map: no response .* `hil run ltp-ltd`"):
        read_measured([other])


def test_a_folder_that_is_no_run_is_refused(folder):
    with pytest.raises(StoreError, match="not a run folder"):
        read_measured([folder])


def test_pulses_of_mixed_amplitude_are_refused(folder, curves):
    other = run(folder, "ltp-ltd", cycles=3, pulses=20, potentiate_voltage="1.3 V")
    with pytest.raises(FitError, match=r"potentiation pulses of 2 amplitudes .* pulse-map"):
        read_measured([curves, other])


def test_few_pulses_of_another_amplitude_are_left_out_and_counted(folder, curves):
    other = run(folder, "ltp-ltd", cycles=1, pulses=5, potentiate_voltage="1.3 V")
    source = read_measured([curves, other])
    assert any("mixed; the most frequent, 1.5 V" in text for text in source.warnings)
    up = source.measured.responses.polarity > 0
    assert set(np.round(source.measured.responses.amplitude_v[up], 4)) == {1.5}


def changed_rows(monkeypatch, change):
    honest = reading.pulse_rows
    monkeypatch.setattr(reading, "pulse_rows", lambda one: change(honest(one)))


def test_missing_readings_join_the_pulses_around_them_and_are_told(curves, monkeypatch):
    def change(rows):
        g0, g1 = rows.g0.copy(), rows.g1.copy()
        g1[5], g0[6] = np.nan, np.nan  # within a branch
        g0[40] = np.nan  # before the first pulse of a cycle
        return dataclasses.replace(rows, g0=g0, g1=g1)

    changed_rows(monkeypatch, change)
    source = read_measured([curves])
    r = source.measured.responses
    assert (r.pulses == 2).sum() == 1
    assert "1 of 1919 pulses have no valid reading before or after; they are left out" in (
        source.warnings
    )
    assert not r.good[np.flatnonzero(np.isnan(r.before_siemens))].any()


def test_pulses_that_met_compliance_are_left_out_and_told(curves, monkeypatch):
    def change(rows):
        flag = rows.flag.copy()
        flag[10:20] = COMPLIANCE
        return dataclasses.replace(rows, flag=flag)

    changed_rows(monkeypatch, change)
    source = read_measured([curves])
    assert (~source.measured.responses.good).sum() == 10
    assert any(text.startswith("10 of 1920 pulses met a compliance") for text in source.warnings)


def test_readings_that_are_all_missing_are_refused(curves, monkeypatch):
    changed_rows(
        monkeypatch, lambda rows: dataclasses.replace(rows, g1=np.full(rows.g1.size, np.nan))
    )
    with pytest.raises(FitError, match="no pulse has valid readings"):
        read_measured([curves])


def test_a_run_without_depression_says_what_stands_in(curves, monkeypatch):
    def change(rows):
        up = rows.v > 0
        return type(rows)(*(getattr(rows, f.name)[up] for f in dataclasses.fields(rows)))

    changed_rows(monkeypatch, change)
    source = read_measured([curves])
    assert source.cycles == 3
    assert any("no depression pulse" in text for text in source.warnings)
