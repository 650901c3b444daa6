"""Every bad input gets one clear line and its exit code, no traceback, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from command import SHORT_TRAINING, STATION, error_line, hil_json, write

from hil.record import open_run

HEAD = "schema = 1\n"
TRAINING_STATION = STATION.replace("rows = 8\ncols = 8", "rows = 70\ncols = 20")
INSTRUMENT = """
[[instrument]]
name = "smu"
driver = "smu"
resource = "x"
[[wiring]]
line = "WL0:4"
channel = "smu.1"
"""
DEVICE = """
schema = 1
name = "d"
model = "linear"
[range]
g_min = "1 uS"
g_max = "10 uS"
[potentiation]
states = 10
[depression]
states = 10
[pulse]
potentiate_voltage = "1 V"
depress_voltage = "-1 V"
width = "1 us"
potentiate_threshold = "0.5 V"
depress_threshold = "-0.5 V"
[drive]
"""


def targets(value):
    return HEAD + f'kind = "write-verify"\ncells = [[0, 0], [0, 1]]\ntargets = ["20 uS", {value}]\n'


#: name -> (protocol, station, exit code, what the line says)
PROTOCOLS = {
    "unknown field": (HEAD + 'kind = "ltp-ltd"\npulsse = 3\n', STATION, 3,
                      "protocol.toml:3: pulsse: unknown field; did you mean 'pulses'"),
    "unknown kind": (HEAD + 'kind = "ltp"\n', STATION, 3, "protocol.toml:2: kind"),
    "wrong unit": (HEAD + 'kind = "ltp-ltd"\nwrite_width = "1 parsec"\n', STATION, 3,
                   "protocol.toml:3: write_width: unknown unit 'parsec'"),
    "wrong dimension": (HEAD + 'kind = "ltp-ltd"\nwrite_width = "1 V"\n', STATION, 3,
                        "protocol.toml:3: write_width: '1 V' is a voltage; expected a time"),
    "no unit": (HEAD + 'kind = "ltp-ltd"\nwrite_width = 1e-6\n', STATION, 3,
                "protocol.toml:3: write_width: 1e-06 has no unit"),
    "negative width": (HEAD + 'kind = "ltp-ltd"\nwrite_width = "-1 us"\n', STATION, 3,
                       "protocol.toml:3: write_width"),
    "level above the limit through a list entry": (
        HEAD + 'kind = "pulse-map"\ncells = [[0, 0]]\namplitudes = ["1.5 V", "9 V"]\n', STATION, 4,
        "line level 4.5 V against limit 2.5 V"),
    "NaN in targets": (targets('"nan S"'), STATION, 3, "protocol.toml:4: targets"),
    "bare NaN in targets": (targets("nan"), STATION, 3, "protocol.toml:4: "),
    "target outside the window": (targets('"5 S"'), STATION, 3, "protocol.toml"),
    "cell outside the array": (HEAD + 'kind = "read-map"\ncells = [[0, 8]]\n', STATION, 3,
                               "protocol.toml:3: cells"),
    "a million steps in one sweep": (
        HEAD + 'kind = "iv-sweep"\n'
        'voltages = { start = "0 V", stop = "1 V", step = "1 uV" }\n', STATION, 3,
        "protocol.toml:3: voltages"),
    "not TOML": ("schema = \n", STATION, 3, "protocol.toml:1: not valid TOML"),
    "duplicate line in the wiring": (
        HEAD + 'kind = "read-map"\n',
        STATION + INSTRUMENT + '[[wiring]]\nline = "WL3"\nchannel = "smu.4"\n', 3, "WL3"),
    "wire to a line that is not there": (
        HEAD + 'kind = "read-map"\n', STATION + INSTRUMENT.replace("WL0:4", "WL6:4"), 3,
        "wiring[0].line: no line 'WL8'"),
    "array larger than can be declared": (
        HEAD + 'kind = "read-map"\n', STATION.replace("rows = 8", "rows = 100000"), 3,
        "station.toml:4: array[0].rows"),
    "limits of a line that is not there": (
        HEAD + 'kind = "read-map"\n', STATION + '[limits.lines.WL8]\nlevel = ["0 V", "1 V"]\n', 3,
        "no line 'WL8'"),
    "no device preset": (
        HEAD + 'kind = "read-map"\n', STATION.replace("nonlinear", "unobtainium"), 3,
        "no device preset 'unobtainium'"),
    "too many pulses on a device": (
        HEAD + 'kind = "ltp-ltd"\npulses = 100\n', STATION + "pulses_per_device = 50\n", 4,
        "against limit 50 pulses"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_protocol_or_station_that_is_wrong_drives_nothing(tmp_path, case):
    protocol, station, code, says = case
    write(tmp_path, "protocol.toml", protocol)
    write(tmp_path, "station.toml", station)
    line = error_line(
        "run", "protocol.toml", "--station", "station.toml", "--sim", cwd=tmp_path, code=code
    )
    assert says in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (DEVICE.replace('g_min = "1 uS"', 'g_min = "20 uS"'), "device.toml:7: range.g_max"),
        (DEVICE.replace('g_min = "1 uS"', 'g_min = "-1 uS"'), "device.toml:6: range.g_min"),
        (DEVICE.replace("states = 10", "states = 0", 1), "device.toml:9: potentiation.states"),
        (DEVICE + "[drives]\n", "drives: unknown field"),
    ],
    ids=["g_min above g_max", "negative g_min", "no states", "unknown table"],
)
def test_a_device_that_is_wrong_is_refused(tmp_path, text, says):
    write(tmp_path, "device.toml", text)
    assert says in error_line("check", "device.toml", cwd=tmp_path, code=3)
    write(tmp_path, "station.toml", STATION.replace("nonlinear", "device.toml"))
    run = ("run", "read-map", "--station", "station.toml", "--sim")
    assert says in error_line(*run, cwd=tmp_path, code=3)
    assert not (tmp_path / "runs").exists()


def npz(folder, **arrays):
    np.savez(folder / "set.npz", **arrays)


X, Y = np.full((10, 4), 0.5), np.arange(10) % 2
DATASETS = {
    "empty": ({"x_train": X[:0], "y_train": Y[:0], "x_test": X, "y_test": Y}, "x_train"),
    "NaN": ({"x_train": X * np.nan, "y_train": Y, "x_test": X, "y_test": Y}, "x_train"),
    "labels missing": ({"x_train": X}, "y_train"),
    "of unequal length": ({"x_train": X, "y_train": Y[:3], "x_test": X, "y_test": Y}, "y_train"),
}


@pytest.mark.parametrize("case", DATASETS.values(), ids=DATASETS)
def test_a_data_set_that_is_wrong_is_refused(tmp_path, case):
    arrays, says = case
    npz(tmp_path, **arrays)
    write(tmp_path, "station.toml", TRAINING_STATION)
    write(tmp_path, "t.toml", SHORT_TRAINING + '[dataset]\nkind = "npz"\nfile = "set.npz"\n')
    line = error_line("train", "t.toml", "--station", "station.toml", "--sim", cwd=tmp_path, code=3)
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_a_pair_map_that_leaves_the_array_is_refused(tmp_path):
    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "t.toml", SHORT_TRAINING)
    line = error_line("train", "t.toml", "--station", "station.toml", "--sim", cwd=tmp_path, code=3)
    assert "65 rows" in line
    assert "8 x 8 array" in line
    assert not (tmp_path / "runs").exists()


def test_a_protocol_of_a_million_steps_is_checked_whole_and_forecast(tmp_path):
    write(tmp_path, "station.toml", STATION + "pulses_per_device = 600_000\n")
    protocol = HEAD + 'kind = "endurance"\ncells = [[0, 0]]\ncycles = {}\n'
    write(tmp_path, "protocol.toml", protocol.format(250_000))
    dry = ("dry-run", "protocol.toml", "--station", "station.toml", "--sim")
    found = hil_json(*dry, cwd=tmp_path)["predicted"]
    assert found["most_pulses_on_a_device"] == 500_000
    write(tmp_path, "protocol.toml", protocol.format(500_000))
    line = error_line(*dry, cwd=tmp_path, code=4)
    assert "against limit 600000 pulses" in line


@contextmanager
def mounted(folder, *options):
    """Mount a small tmpfs; skip where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is refused here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# The disk is looked at once a second, and a run pauses in time where the look comes before the end.
WITHOUT_WATCH = [
    sys.executable,
    "-c",
    "from hil.cli.main import main; from hil.record.watch import Watch\n"
    "Watch.tick = lambda watch: None\n"
    "main()",
]


def test_a_full_disk_stops_the_run_and_loses_nothing_that_was_acknowledged(tmp_path):
    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "protocol.toml", HEAD + 'kind = "ltp-ltd"\npulses = 2000\ncycles = 3\n')
    with mounted(tmp_path / "disk", "size=1300k") as disk:
        arguments = ("run", "protocol.toml", "--station", "station.toml", "--sim", "--out", disk)
        line = error_line(*arguments, cwd=tmp_path, code=7)
        assert "bytes free" in line
        assert list(disk.iterdir()) == []
        # A training has no estimate: it starts although it will not fit.
        write(tmp_path, "station.toml", TRAINING_STATION)
        long = SHORT_TRAINING.replace("samples = 60", "samples = 1400")
        write(tmp_path, "t.toml", long.replace("epochs = 1", "epochs = 5"))
        arguments = ("train", "t.toml", "-s", "station.toml", "--sim", "--level", "full",
                     "--out", disk)  # fmt: skip
        line = error_line(*arguments, cwd=tmp_path, code=7, command=WITHOUT_WATCH)
        assert "No space left on device" in line
        run = open_run(next(disk.iterdir()))
        assert run.status == "failed"
        assert run.problems == ()
        assert run.stop["rows_acknowledged"] > 0
        rows = run.reads.num_rows + run.ops.num_rows + run.pulses.num_rows
        assert rows >= run.stop["rows_acknowledged"]


def test_a_read_only_run_folder_is_one_clear_line(tmp_path):
    write(tmp_path, "station.toml", STATION)
    with mounted(tmp_path / "disk", "ro") as disk:
        arguments = ("run", "read-map", "--station", "station.toml", "--sim", "--out", disk / "r")
        assert "Read-only file system" in error_line(*arguments, cwd=tmp_path, code=7)


def test_a_run_folder_that_is_a_file_is_one_clear_line(tmp_path):
    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "runs", "I am a file")
    arguments = ("run", "read-map", "--station", "station.toml", "--sim")
    assert "runs" in error_line(*arguments, cwd=tmp_path, code=7)
    assert (tmp_path / "runs").read_text() == "I am a file"


def test_starter_files_in_a_read_only_place_are_one_clear_line(tmp_path):
    write(tmp_path, "taken", "I am a file")
    line = error_line("init", "taken/lab", cwd=tmp_path, code=7)
    assert "taken" in line


def test_every_file_is_checked_and_each_error_is_a_line(tmp_path):
    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "a.toml", HEAD + 'kind = "ltp-ltd"\npulsse = 3\n')
    write(tmp_path, "b.toml", "schema = \n")
    found = hil_json("check", "a.toml", "station.toml", "b.toml", cwd=tmp_path, code=3)
    assert [row["ok"] for row in found["files"]] == [False, True, False]
    assert found["files"][0]["error"]["line"] == 3
    assert found["error"] == found["files"][0]["error"]
