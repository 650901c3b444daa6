"""``hil export`` as people call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hil.errors import ConfigError, RunInterrupted, StoreError
from hil.program import Phase
from hil.record import RunFolder

HIL = [sys.executable, "-m", "hil.cli.main"]


def hil_export(*arguments, cwd):
    return subprocess.run(
        [*HIL, "export", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


def test_the_command_names_rows_files_and_what_is_left_out(recorded, tmp_path):
    run = recorded["interrupted"]
    done = hil_export(run, "--to", "parquet", "-o", "run.parquet", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "interrupted"
    assert said["rows"] == {"reads": 32, "pulses": 300, "ops": 1}
    names = ["run.reads.parquet", "run.pulses.parquet", "run.ops.parquet"]
    assert [file["path"] for file in said["files"]] == names
    assert [file["bytes"] for file in said["files"]] == [
        (tmp_path / name).stat().st_size for name in names
    ]
    assert "not exported: checkpoints: outcome.npz" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--to", "xlsx"], ConfigError.exit_code, "no format 'xlsx'; allowed: csv, parquet"),
        (["--to", "csv", "-o", "nowhere/run.csv"], StoreError.exit_code, "no such folder"),
        (["--to", "mat", "--table", "origin"], ConfigError.exit_code, "is a csv file, not mat"),
        ([], 2, "Missing option '--to'"),
    ],
    ids=["format", "folder", "origin", "no format"],
)
def test_a_wrong_export_is_one_line_and_no_file(recorded, tmp_path, arguments, code, said):
    done = hil_export(recorded["done"], *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a signal from outside is POSIX's")
def test_a_stopped_export_leaves_no_file(tmp_path):
    folder = RunFolder.create(tmp_path, "long", kind="run", backend="sim", simulated=True)
    folder.pulses({"op": 1, "phase": Phase.UPDATE, "row": 0, "col": 0, "v": 1.0, "width": 1e-6,
                   "count": 20_000_000})  # fmt: skip
    folder.close()
    (tmp_path / "out").mkdir()
    command = [*HIL, "export", folder.path, "--to", "csv", "--table", "origin", "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        end_s = time.monotonic() + 30
        while not list((tmp_path / "out").iterdir()) and time.monotonic() < end_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == RunInterrupted.exit_code, errors
    assert "no file is half written" in errors
    assert list((tmp_path / "out").iterdir()) == []
