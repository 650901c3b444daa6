"""`hil fit` as people use it: tables, file, plot, and what bad input is told."""

from __future__ import annotations

import re

import pytest
from hil_sim.models.device import load_device
from recorded import bench, hil, hil_json, run

VARIATION = """step_d2d = 0.1
step_c2c = 0.1
read_noise = 0.004"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("command"), variation=VARIATION, rows=6, cols=4)


@pytest.fixture(scope="module")
def curves(folder):
    return run(folder, "ltp-ltd", cycles=4, pulses=60)


@pytest.fixture(scope="module")
def fitted(folder, curves):
    """The JSON of one fit with a plot."""
    return hil_json("fit", curves, "-o", "fitted.toml", "--plot", "fit.png", "--bootstrap", 60,
                    cwd=folder)  # fmt: skip


def test_the_best_model_is_the_one_that_was_simulated(fitted):
    assert fitted["model"] == fitted["best"] == "exponential"
    criteria = [model["aic"] for model in fitted["models"]]
    assert criteria == sorted(criteria)
    assert {m["model"] for m in fitted["models"]} >= {
        "linear", "exponential", "querlioz", "soft-bounds", "lookup",
    }  # fmt: skip


def test_the_file_holds_parameters_near_the_truth_and_their_intervals(folder, fitted):
    device = load_device(folder / "fitted.toml")
    assert device.model == "exponential"
    assert device.potentiation.nu == pytest.approx(2.0, abs=0.3)
    assert device.depression.nu == pytest.approx(4.0, abs=0.5)
    assert device.range.g_min == pytest.approx(2e-6, rel=0.05)
    assert device.range.g_max == pytest.approx(50e-6, rel=0.05)
    assert device.variation.step_c2c == pytest.approx(0.1, rel=0.25)
    low, high = device.fit.interval["potentiation.nu"]
    assert low < device.potentiation.nu < high
    assert {"potentiation.states", "variation.step_c2c"} <= set(device.fit.interval)


def test_the_file_says_which_run_it_comes_from(folder, curves, fitted):
    from hil.fit.reading import digest_of
    from hil.record import open_run

    fit = load_device(folder / "fitted.toml").fit
    opened = open_run(curves)
    assert [(r.id, r.kind, r.simulated) for r in fit.run] == [
        (opened.manifest["id"], "ltp-ltd", True)
    ]
    assert fit.run[0].digest == digest_of(opened) == fitted["runs"][0]["digest"]
    assert (fit.devices, fit.cycles) == (24, 4)
    assert [m.model for m in fit.model] == [m["model"] for m in fitted["models"]]


def test_the_operating_point_and_current_law_stay_those_of_the_run(folder, fitted):
    device, known = load_device(folder / "fitted.toml"), load_device(folder / "known.toml")
    assert device.current == known.current
    assert device.drive.operating_point() == known.drive.operating_point()
    assert device.pulse == known.pulse
    assert any("thresholds" in text for text in fitted["warnings"])


def test_the_plot_is_a_picture(folder, fitted):
    assert (folder / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "fit.png").stat().st_size > 30_000


def test_the_simulator_check_dry_run_and_studies_take_the_file(folder, fitted):
    code, out, err = hil("check", "fitted.toml", cwd=folder)
    assert (code, out.strip()) == (0, "fitted.toml: device file: fitted (1R)"), err
    station = (folder / "station.toml").read_text(encoding="utf-8")
    (folder / "twin.toml").write_text(
        station.replace("known.toml", "fitted.toml"), encoding="utf-8"
    )
    found = hil_json("dry-run", "read-map", "--station", "twin.toml", "--sim", cwd=folder)
    assert found["simulated"]
    read = hil_json("run", "read-map", "--station", "twin.toml", "--sim", cwd=folder)
    assert read["protocol"] == "read-map"
    (folder / "study.toml").write_text(
        'schema = 1\nname = "s"\nstation = "twin.toml"\nprotocol = "read-map.toml"\nseeds = [1]\n'
        '[grid]\n"device.variation.step_c2c" = [0.2]\n', encoding="utf-8",
    )  # fmt: skip
    (folder / "read-map.toml").write_text('schema = 1\nkind = "read-map"\n', encoding="utf-8")
    code, out, err = hil("study", "study.toml", "--workers", 1, cwd=folder)
    assert code == 0, err
    point = next((folder / "studies" / "s" / "points").iterdir())
    device = load_device(point / "device.toml")
    assert device.variation.step_c2c == 0.2
    assert device.fit == load_device(folder / "fitted.toml").fit


def test_a_table_of_all_models_marks_the_best_and_a_model_can_be_forced(folder, curves):
    code, out, err = hil("fit", curves, "-o", "table.toml", "--model", "lookup", "--bootstrap", 20,
                         cwd=folder)  # fmt: skip
    assert code == 0, err
    assert re.search(r"^exponential .* best$", out, re.MULTILINE)
    assert re.search(r"^lookup .* written$", out, re.MULTILINE)
    assert "written: table.toml (lookup model)" in out
    device = load_device(folder / "table.toml")
    assert device.model == "lookup"
    assert len(device.potentiation.g) > 10
    assert min(device.potentiation.spread) >= 0.0
    assert max(device.potentiation.spread) > 0.0


def test_files_that_exist_are_not_replaced(folder, curves):
    (folder / "there.toml").write_text("mine", encoding="utf-8")
    code, _, err = hil("fit", curves, "-o", "there.toml", cwd=folder)
    assert code == 7
    assert "there.toml: exists; --force replaces it" in err
    assert (folder / "there.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "quadratic"], 3, "no model 'quadratic'; there are linear"),
        (["-o", "nowhere/device.toml"], 7, "its folder does not exist"),
    ],
    ids=["model", "folder"],
)
def test_wrong_options_are_told_before_the_work(folder, curves, arguments, code, message):
    found, _, err = hil("fit", curves, *arguments, cwd=folder)
    assert found == code
    assert message in err


def test_a_run_of_the_wrong_protocol_says_what_to_run(folder):
    other = run(folder, "read-map")
    code, _, err = hil("fit", other, "-o", "x.toml", cwd=folder)
    assert code == 3
    assert "a run of read-map: no response to single pulses to fit" in err
    assert not (folder / "x.toml").exists()


def test_stuck_devices_alone_are_no_fit(tmp_path):
    bench(tmp_path, variation="stuck_at_min = 1.0", rows=2, cols=2)
    code, _, err = hil("fit", run(tmp_path, "ltp-ltd", cycles=2, pulses=10), cwd=tmp_path)
    assert code == 3
    assert "none of the 4 devices answers the pulses" in err


def test_one_device_is_fitted_and_what_it_cannot_tell_is_said(tmp_path):
    bench(tmp_path, variation="step_c2c = 0.1\nread_noise = 0.002", rows=2, cols=2)
    curves = run(tmp_path, "ltp-ltd", cycles=3, pulses=50, cells=[[1, 0]])
    found = hil_json("fit", curves, "-o", "one.toml", "--bootstrap", 20, cwd=tmp_path)
    assert found["fitted_devices"] == 1
    assert any("device" in text for text in found["warnings"])
    device = load_device(tmp_path / "one.toml")
    assert (device.variation.step_d2d, device.variation.g_max_d2d) == (0.0, 0.0)


def test_a_block_erase_in_place_of_depression_is_fitted_with_a_warning(tmp_path):
    bench(tmp_path, rows=4, cols=2)
    (tmp_path / "station.toml").write_text(
        'schema = 1\nbackend = "sim"\n[[array]]\nrows = 4\ncols = 4\ncell = "3T"\n'
        'device = "gated-schottky"\n[twin]\nseed = 1\n', encoding="utf-8",
    )  # fmt: skip
    curves = run(tmp_path, "ltp-ltd", cycles=3, pulses=80)
    found = hil_json("fit", curves, "-o", "gate.toml", "--bootstrap", 20, cwd=tmp_path)
    assert any("no depression pulse" in text for text in found["warnings"])
    device = load_device(tmp_path / "gate.toml")
    assert device.cell == "3T"
    assert device.erase is not None
