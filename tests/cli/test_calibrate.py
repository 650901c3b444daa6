"""`hil calibrate`, `hil check --probe` and runs with a calibration, as people use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest
from command import HIL, error_line, hil, hil_json, write

from hil.cli.commands.init import starter_files
from hil.cli.main import main
from hil.record import open_run
from hil.registry import BENCHES, backend_factory, load

pytest.importorskip("lupa")

TWIN = "\n[twin]\nimperfect = true\nseed = 7\n"
TRUE_SIEMENS = 1e-5  # every device of the array is a 100 kohm resistor


def station_text(calibration=None, twin=TWIN, extra=""):
    """Return the station of a rig of 2 x 3 devices of 100 kohm."""
    text = starter_files(rig=True)["station.toml"]
    text = text.replace('device = "nonlinear"', 'device = "kilo.toml"')
    text = text.replace('g_min = "1 uS"', 'g_min = "10 uS"').replace(
        "rows = 4\ncols = 4", "rows = 2\ncols = 3"
    )
    text = text.replace('"WL0:4"', '"WL0:2"').replace('"BL0:4"', '"BL0:3"')
    first = f'schema = 1\ncalibration = "{calibration}"\n' if calibration else "schema = 1\n"
    return text.replace("schema = 1\n", first + extra, 1) + twin


@pytest.fixture(scope="module")
def kilo():
    device = backend_factory("sim").device_text("ideal")
    return device.replace('g_min = "1 uS"', 'g_min = "10 uS"')


@pytest.fixture
def lab(tmp_path, kilo):
    write(tmp_path, "kilo.toml", kilo)
    write(tmp_path, "station.toml", station_text())
    write(tmp_path, "used.toml", station_text("calibration.json"))
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory, kilo):
    """Return the text of a calibration file and what the command printed."""
    folder = tmp_path_factory.mktemp("made")
    write(folder, "kilo.toml", kilo)
    write(folder, "station.toml", station_text())
    done = hil("calibrate", "station.toml", "--virtual", "--averages", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "calibration.json").read_text(encoding="utf-8"), done.stdout


@pytest.fixture
def calibrated(lab, made):
    write(lab, "calibration.json", made[0])
    return lab


def changed(text, *path, to):
    values = json.loads(text)
    at = values
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return json.dumps(values)


@pytest.fixture
def here(lab, monkeypatch, capsys):
    """Run commands in this process, in the lab; return exit code, output and error output."""
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    yield run
    for number, handler in before.items():  # an interrupted command ignores further ones
        signal.signal(number, handler)


@pytest.fixture
def told(here):
    """Run a command with --json that must succeed; return its object and its error output."""

    def run(*arguments):
        code, out, err = here(*arguments, "--json")
        assert code == 0, err
        return json.loads(out), err

    return run


@pytest.fixture
def refused(here):
    """Run a command that must fail with a code; return its one line."""

    def run(code, *arguments):
        ended, _, said = here(*arguments)
        assert ended == code, said
        (line,) = [line for line in said.splitlines() if "hil: " in line]
        return line[line.index("hil: ") :]

    return run


# -- what it is for -------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
def test_100_kohm_reads_within_two_per_mille_after_calibration_and_not_before(
    calibrated, told, sign
):
    stations = ["station.toml", "used.toml"]
    for name in stations if sign < 0 else ():
        text = (calibrated / name).read_text(encoding="utf-8")
        write(calibrated, name, text.replace('read_voltage = "0.2 V"', 'read_voltage = "-0.2 V"'))
    before, after = (
        np.array(told("run", "read-map", "-s", name, "--virtual")[0]["outcome"]["g_siemens"])
        for name in stations
    )
    assert np.abs(before / TRUE_SIEMENS - 1).min() > 0.01
    assert np.abs(after / TRUE_SIEMENS - 1).max() < 0.002


def test_the_command_says_first_what_it_applies_and_then_what_it_found(made):
    text, printed = made
    lines = printed.splitlines()
    assert lines[0].startswith("backend: rig on the virtual bench: smu: Keithley")
    announced = lines.index("will apply:")
    for k, step in enumerate(("zero: 0 V", "open: +200 mV and -200 mV", "short: +10 mV and -10 mV",
                              "reference: up to +200 mV and -200 mV across 100 kohm")):  # fmt: skip
        assert lines[announced + 1 + k].startswith(f"  {step}")
    connect = [line for line in lines if "virtual bench: " in line and "connect" in line]
    assert connect[0].startswith("open: ")
    assert lines.index(connect[0]) > announced + 4
    assert "reference: virtual bench: connect 100 kohm between WL0 and BL0" in printed
    for head in ("meter", "source", "route", "line"):
        assert any(line.startswith(f"{head} ") for line in lines)
    assert "calibration: calibration.json" in lines
    assert 'calibration = "calibration.json"' in lines[-1]
    found = json.loads(text)
    assert set(found["steps"]) == {"zero", "open", "short", "reference"}
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["instruments"]["smu"]["serial"] == "1400001"
    assert found["instruments"]["mux"]["firmware"]
    assert {"leaks_siemens", "paths_ohm", "reference_ohm", "wiring_sha256"} <= found.keys()


def test_json_carries_the_whole_file(lab, told):
    found, _ = told("calibrate", "station.toml", "--virtual", "--step", "zero", "-o", "new.json")
    file = json.loads((lab / "new.json").read_text(encoding="utf-8"))
    assert found["calibration"] == file
    assert set(file["steps"]) == {"zero"}
    assert file["sources"] == {}


def test_a_run_notes_its_calibration_or_that_there_was_none(calibrated, told):
    ran = hil_json("run", "read-map", "-s", "used.toml", "--virtual", cwd=calibrated)
    run = open_run(calibrated / ran["run"])
    facts = run.manifest["meta"]["calibration"]["main"]
    file = json.loads((calibrated / "calibration.json").read_text(encoding="utf-8"))
    assert facts["used"]
    assert facts["date"] == file["date"]
    assert facts["instruments"] == file["instruments"]
    assert facts["sha256"] == run.manifest["config"]["calibration.json"]["sha256"]
    copied = (run.path / "config" / "calibration.json").read_bytes()
    assert copied == (calibrated / "calibration.json").read_bytes()
    assert facts["sha256"][:12] in ran["identity"]
    without, _ = told("run", "read-map", "-s", "station.toml", "--virtual")
    meta = open_run(calibrated / without["run"]).manifest["meta"]
    assert meta["calibration"] == {"main": {"used": False}}


def test_an_old_calibration_is_used_with_a_warning(calibrated, made, told):
    old = "2024-02-03T04:05:06+01:00"
    write(calibrated, "calibration.json", changed(made[0], "steps", "open", to=old))
    write(
        calibrated, "aged.toml",
        station_text("calibration.json", extra='calibration_max_age = "30 d"\n'),
    )  # fmt: skip
    _, said = told("run", "read-map", "-s", "aged.toml", "--virtual")
    assert "hil: warning: the calibration calibration.json is " in said
    assert "days old; the station's calibration_max_age is 30 days" in said
    _, said = told("run", "read-map", "-s", "used.toml", "--virtual")
    assert "warning" not in said


def test_training_uses_and_notes_the_calibration(calibrated, here, told):
    rng = np.random.default_rng(0)
    x = rng.random((40, 1))
    np.savez(calibrated / "data.npz", x_train=x, y_train=(x[:, 0] > 0.5).astype(np.int64))
    write(
        calibrated, "small.toml",
        'schema = 1\nname = "small"\nbaseline = false\n[dataset]\nkind = "npz"\nfile = "data.npz"\n'
        "train_limit = 4\ntest_limit = 2\n[network]\nhidden = []\n[schedule]\nepochs = 1\n"
        "[characterise]\ndevices = 1\npulses = 8\n",
    )  # fmt: skip
    used = (calibrated / "used.toml").read_text(encoding="utf-8")
    write(calibrated, "used.toml", used.replace("rows = 2\ncols = 3", "rows = 2\ncols = 4")
          .replace('"BL0:3"', '"BL0:4"'))  # fmt: skip
    said = error_line("train", "small.toml", "-s", "used.toml", "--virtual", cwd=calibrated, code=3)
    assert "wiring or instrument settings of the station have changed" in said
    code, _, err = here("calibrate", "used.toml", "--virtual", "--force", "--averages", 1)
    assert code == 0, err
    found, _ = told("train", "small.toml", "-s", "used.toml", "--virtual")
    manifest = open_run(calibrated / found["run"]).manifest
    assert manifest["meta"]["calibration"]["main"]["used"]


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run read-map", "train small.toml"])
def test_a_file_of_other_instruments_gives_one_clear_line(calibrated, made, command):
    write(calibrated, "small.toml", 'schema = 1\n[dataset]\nkind = "digits"\n')
    text = changed(made[0], "instruments", "smu", "serial", to="4242424")
    write(calibrated, "calibration.json", text)
    said = error_line(*command.split(), "-s", "used.toml", "--virtual", cwd=calibrated, code=5)
    assert "instrument smu: the file has Keithley Instruments Inc. 2636B, serial 4242424" in said
    assert "serial 1400001, firmware 3.4.2 answered; calibrate again" in said
    assert not (calibrated / "runs").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[: len(text) // 2], "no whole calibration file"),
        (lambda text: "", "no whole calibration file"),
        (lambda text: changed(text, "schema", to=2), "schema"),
        (lambda text: changed(text, "date", to="2026-01-01T00:00:00"), "date"),
        (lambda text: changed(text, "channels", "smu.a", 0, "gain", to=9.0), "gain"),
        (lambda text: changed(text, "surplus", to=1), "surplus"),
        (lambda text: changed(text, "array", to="other"), "is of array 'other', not of 'main'"),
        (lambda text: changed(text, "wiring_sha256", to="0"), "have changed since"),
        (None, "cannot be read: No such file"),
    ],
    ids=["half", "empty", "schema", "no zone", "gain", "surplus", "array", "wiring", "none"],
)
def test_a_damaged_or_wrong_file_gives_one_clear_line(refused, lab, made, change, says):
    if change is not None:
        write(lab, "calibration.json", change(made[0]))
    said = refused(3, "run", "read-map", "-s", "used.toml", "--virtual")
    assert said.startswith("hil: calibration.json: ")
    assert says in said
    assert not (lab / "runs").exists()


@pytest.mark.parametrize(
    ("code", "flags", "says"),
    [
        (3, "--step zeal", "no step 'zeal'; there are zero, open, short, reference"),
        (3, "--reference 5V", "'5V' is a voltage; expected a resistance"),
        (3, "--reference -5", "-5 is no resistor"),
        (4, "--volts 0", "must not be 0 V"),
        (4, "--reference 2", "no range suits it; give another --reference, --volts or --range"),
        (3, "--short-at 9,0", "not on the 2 x 3 array"),
        (3, "--short-at x", "is no place; write row,column"),
        (3, "--from missing.json", "missing.json: calibration: cannot be read"),
        (2, "--averages 0", "Invalid value for '--averages'"),
    ],
)
def test_a_wish_that_cannot_be_gives_one_line_and_no_file(refused, lab, code, flags, says):
    said = refused(code, "calibrate", "station.toml", "--virtual", *flags.split())
    assert says in said
    assert not (lab / "calibration.json").exists()


def test_an_existing_file_is_kept_unless_forced(refused, here, calibrated, made):
    said = refused(3, "calibrate", "station.toml", "--virtual")
    assert said == "hil: calibration.json: --output: already there; --force replaces it"
    assert (calibrated / "calibration.json").read_text(encoding="utf-8") == made[0]
    refused(3, "calibrate", "used.toml", "--virtual")  # the file that the station names
    code, _, err = here("calibrate", "station.toml", "--virtual", "--step", "zero", "--force")
    assert code == 0, err
    assert (calibrated / "calibration.json").read_text(encoding="utf-8") != made[0]
    assert not list(calibrated.glob("*.partial"))


def test_what_has_no_instruments_is_not_calibrated(refused, lab):
    write(lab, "sim.toml", 'schema = 1\nbackend = "sim"\n[[array]]\nrows = 2\ncols = 2\n')
    assert "no instruments to calibrate" in refused(
        3, "calibrate", "sim.toml", "--virtual", "-o", "x.json"
    )
    assert "no instruments to calibrate" in refused(3, "check", "sim.toml", "--probe")


class Wrapped:
    """The virtual bench, kept for a look afterwards; ``connect`` changes what is connected."""

    def __init__(self, monkeypatch, connect=lambda bench, g: g, prepare=lambda bench: None):
        import hil.control.bench as module

        def make(station, **options):
            self.bench = load(BENCHES, "virtual")(station, **options)
            insert = self.bench.insert
            self.bench.insert = lambda name, g: insert(name, connect(self.bench, g))
            prepare(self.bench)
            return self.bench

        monkeypatch.setattr(module, "load", lambda group, name: make)


def test_an_implausible_result_is_refused_with_value_and_limit(refused, lab, monkeypatch):
    wrapped = Wrapped(monkeypatch, lambda bench, g: np.where(g < 1.0, g / 2, g))  # 200 kohm
    said = refused(5, "calibrate", "station.toml", "--virtual")
    assert "WL0 smu.a: current through the reference" in said
    assert "against limit" in said
    assert "wrong resistor or broken path); nothing was written" in said
    assert wrapped.bench.safe
    assert not (lab / "calibration.json").exists()


def test_ctrl_c_in_the_middle_leaves_the_rig_safe_and_no_file(refused, lab, monkeypatch):
    def connect(bench, g):
        if g.max() > 1.0:  # the short is connected; the signal comes during the next run
            bench.faults.during_run = lambda *_: signal.raise_signal(signal.SIGINT)
        return g

    # The bench answers in threads; a signal is handled in the main one all the same.
    wrapped = Wrapped(monkeypatch, connect)
    said = refused(130, "calibrate", "station.toml", "--virtual")
    assert "in the safe state" in said
    assert wrapped.bench.safe
    assert not list(lab.glob("calibration*"))


# -- prompts --------------------------------------------------------------------------------


@pytest.fixture
def up(lab):
    """Serve the station's instruments in another process; return the station that reaches them."""
    process = subprocess.Popen(
        [*HIL, "bench", "up", "station.toml", "--json"], cwd=lab, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        resources = json.loads(process.stdout.readline())
        text = station_text()
        for old, name in (("192.168.0.5::5025", "smu"), ("192.168.0.6::5025", "mux")):
            _, host, port, _ = resources[name].split("::")
            text = text.replace(old, f"{host}::{port}")
        write(lab, "real.toml", text)
        yield lab
    finally:
        process.kill()
        process.communicate()


def calibrate_with(folder, answers, *flags):
    return subprocess.run(
        [*HIL, "calibrate", "real.toml", *flags], cwd=folder, input=answers, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_person_is_told_what_to_connect_and_asked(up):
    done = calibrate_with(up, "\n", "--step", "open")
    assert done.returncode == 0, done.stderr
    assert "open: outputs are off and relays open\nopen: connect nothing" in done.stdout
    assert "press Enter when it is connected" in done.stderr
    assert "note: reference was not measured" in done.stdout
    assert (up / "calibration.json").exists()


def test_without_anybody_to_answer_nothing_is_measured(up):
    done = calibrate_with(up, "", "--step", "open")
    assert done.returncode == 3
    assert "nobody answers (standard input has ended); give --reference and --yes" in done.stderr
    done = calibrate_with(up, "", "--yes", "--reference", "100 kohm")
    assert done.returncode == 3
    assert "more than one thing has to be connected" in done.stderr
    done = calibrate_with(up, "", "--yes", "--step", "zero")
    assert done.returncode == 0, done.stderr
    done = calibrate_with(
        up, "", "-y", "--step", "open", "--from", "calibration.json", "-o", "2.json"
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads((up / "2.json").read_text())["steps"]) == {"zero", "open"}


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to one process alone on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_at_a_prompt_ends_at_once_without_a_file(up, number):
    process = subprocess.Popen(
        [*HIL, "calibrate", "real.toml", "--step", "open"], cwd=up, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("open: connect nothing"):
                break
        process.stderr.read(len("press Enter"))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "hil: stopped while outputs were off; no file was written" in stderr
    assert not (up / "calibration.json").exists()


# -- hil check --probe ----------------------------------------------------------------------


def test_a_probe_shows_every_line_and_says_what_it_applies(here, told):
    code, out, err = here("check", "station.toml", "--probe", "--virtual")
    assert code == 0, err
    backend, applies, bounds, head, *lines = out.splitlines()
    assert backend.startswith("backend: rig on the virtual bench")
    assert applies.startswith("contact check: +50 mV and -50 mV on one of 5 lines at a time")
    assert "current limited to at most" in applies
    assert bounds.startswith("ok: ")
    assert head.split() == ["line", "channel", "current", "conductance"]
    assert [line.split()[0] for line in lines] == ["WL0", "WL1", "BL0", "BL1", "BL2"]
    assert all(line.endswith("  ok") for line in lines)
    found, _ = told("check", "station.toml", "--probe", "--virtual", "--volts", 0.1)
    assert (found["ok"], found["level_v"]) == (True, 0.1)
    for line in found["lines"]:
        n = 3 if line["line"].startswith("WL") else 2
        assert line["conductance_siemens"] == pytest.approx(n * TRUE_SIEMENS, rel=0.03)


def test_a_line_without_contact_gives_a_code_and_is_named(refused, monkeypatch):
    def lift(bench):
        bench.array.g[1, :] = 1e-15  # WL1 is off its probe
        bench.array.g[0, 2] = 0.1  # WL0 and BL2 touch

    wrapped = Wrapped(monkeypatch, prepare=lift)
    said = refused(5, "check", "station.toml", "--probe", "--virtual")
    assert said == (
        "hil: 3 of 5 lines are not as they should be: WL0 (short), WL1 (open), BL2 (short)"
    )
    assert wrapped.bench.safe
    assert not wrapped.bench.incidents


@pytest.mark.parametrize(
    ("code", "flags", "says"),
    [
        (
            4,
            "--probe --virtual --volts 0.3",
            "against limit 0.2 V (the limit is the station's read",
        ),
        (4, "--probe --virtual --volts 0", "is not 0 V"),
        (2, "--volts 0.1", "--volts belongs to --probe; without it nothing is driven"),
        (2, "--virtual", "--virtual belongs to --probe"),
        (2, "kilo.toml --probe", "--probe takes one station file"),
        (3, "--probe --virtual --array none", "no array is called 'none'"),
        (4, "--probe --virtual --open-below 1", "the limit is the bound of a short"),
    ],
)
def test_a_probe_that_cannot_be_gives_one_line(refused, code, flags, says):
    assert says in refused(code, "check", "station.toml", *flags.split())


def test_explain_shows_the_plan_of_a_rig_on_the_bench(told):
    found, _ = told("explain", "read-map", "-s", "station.toml", "--virtual")
    assert found["backend"] == "rig on the virtual bench"
    assert any(line.startswith("batched: ") for line in found["plan"])
    assert found["events"]
