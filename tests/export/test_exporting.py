"""Unfinished and damaged runs, files that exist, full disks, and what is left out."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.io
import xarray as xr
from runs_to_export import record

from hil.errors import BackendUnavailable, ConfigError, StoreError
from hil.export import SUFFIXES, export_run, files, matlab
from hil.record import CommitPolicy, RunFolder, open_run

FORMATS = pytest.mark.parametrize("to", list(SUFFIXES))


def said_of_the_run(path, to):
    """Return what a file says of its run: title, status, comment and so on."""
    if to == "csv":
        said = json.loads(path.with_name(f"{path.name}-metadata.json").read_text("utf-8"))
        return said["notes"][0]
    if to == "parquet":
        return {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()}
    if to == "mat":
        return vars(scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)["run"])
    with h5py.File(path) as file:
        return dict(file.attrs)


def count_rows(path, to):
    if to == "csv":
        return len(pd.read_csv(path))
    if to == "parquet":
        return len(pd.read_parquet(path))
    if to == "mat":
        return scipy.io.loadmat(path)["pulses"]["v"][0, 0].size
    with xr.open_dataset(path) as file:
        return file.sizes["seq"]


def left_in(folder):
    return sorted(file.name for file in folder.iterdir())


@FORMATS
def test_a_crashed_run_is_exported_and_the_file_says_so(run, to, tmp_path):
    (run.path / "stop.json").unlink()
    path = tmp_path / f"run{SUFFIXES[to]}"
    crashed = open_run(run.path)
    export_run(crashed, to, path, table="pulses")
    said = said_of_the_run(path, to)
    assert said["run_status"] == "crashed or running"
    assert "did not end" in said["comment"]
    assert count_rows(path, to) == run.pulses.num_rows


@FORMATS
@pytest.mark.parametrize("status", ["interrupted", "failed", "done"])
def test_the_file_says_how_a_run_ended(tmp_path, recorded, to, status):
    path = tmp_path / f"run{SUFFIXES[to]}"
    export_run(open_run(recorded[status]), to, path, table="pulses")
    said = said_of_the_run(path, to)
    assert said["run_status"] == status
    assert ("comment" in said) == (status != "done")
    assert status != "failed" or "compliance on WL3" in said["comment"]


@FORMATS
def test_the_file_says_how_many_devices_are_unknown(tmp_path, rng, to):
    with record(tmp_path / "runs", rng, backend="rig", simulated=False) as folder:
        folder.intents.cover("main", np.eye(3, dtype=bool), 1)
        folder.intents.abandon("main")
    path = tmp_path / f"run{SUFFIXES[to]}"
    done = export_run(open_run(folder.path), to, path, table="pulses")
    said = said_of_the_run(path, to)
    assert "array main: what 3 devices received last is not known" in said["comment"]
    assert any("intents" in line for line in done.left_out)


@FORMATS
def test_rows_before_the_damage_are_exported_and_the_damage_is_named(tmp_path, rng, to):
    folder = RunFolder.create(tmp_path / "runs", "long", kind="run", backend="s", simulated=True)
    for k in range(3):
        folder.pulses({"op": k, "phase": 3, "row": 1, "col": np.arange(50), "width": 1e-6,
                       "v": rng.normal(size=50), "count": 1})  # fmt: skip
        folder.barrier()
    folder.close()
    segment = next((folder.path / "pulses").glob("*.arrows"))
    content = bytearray(segment.read_bytes())
    content[-200] ^= 1
    segment.write_bytes(content)
    path = tmp_path / f"run{SUFFIXES[to]}"
    done = export_run(open_run(folder.path), to, path, table="pulses")
    assert done.rows == {"pulses": 100}
    assert count_rows(path, to) == 100
    assert "row 100" in done.problems[0]
    assert "stops at byte" in said_of_the_run(path, to)["comment"]


@FORMATS
def test_a_run_can_be_exported_while_it_is_written(tmp_path, rng, to):
    with record(tmp_path / "runs", rng) as folder:
        folder.barrier()
        path = tmp_path / f"run{SUFFIXES[to]}"
        export_run(open_run(folder.path), to, path, table="pulses")
        assert count_rows(path, to) == 300
        assert said_of_the_run(path, to)["run_status"] == "crashed or running"


@FORMATS
def test_a_run_without_rows_gives_files_without_rows(tmp_path, to):
    folder = RunFolder.create(tmp_path / "runs", "empty", kind="run", backend="s", simulated=True)
    folder.close()
    done = export_run(open_run(folder.path), to, tmp_path / f"run{SUFFIXES[to]}")
    assert done.rows == {"reads": 0, "pulses": 0, "ops": 0}
    assert all(file.exists() for file in done.files)
    path = tmp_path / f"pulses{SUFFIXES[to]}"
    export_run(open_run(folder.path), to, path, table="pulses")
    assert count_rows(path, to) == 0


@FORMATS
def test_no_file_is_replaced_unless_asked_for(run, to, tmp_path):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"run{SUFFIXES[to]}"
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"exists already; --force"):
        export_run(run, to, path, table="pulses")
    assert path.read_bytes() == b"mine"
    assert left_in(path.parent) == [path.name]
    export_run(run, to, path, table="pulses", force=True)
    assert count_rows(path, to) == run.pulses.num_rows


def test_of_several_files_none_is_written_when_one_exists(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.ops.csv-metadata.json").write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists already"):
        export_run(run, "csv", tmp_path / "out" / "run.csv")
    assert left_in(tmp_path / "out") == ["run.ops.csv-metadata.json"]


@FORMATS
def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(run, to, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"run{SUFFIXES[to]}"
    path.write_bytes(b"mine")

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.durable, "sync", full)
    with pytest.raises(StoreError, match="No space left"):
        export_run(run, to, path, table="pulses", force=True)
    assert path.read_bytes() == b"mine"
    assert left_in(path.parent) == [path.name]


@FORMATS
def test_a_full_disk_is_an_error_and_leaves_nothing(to, tmp_path, rng, small_disk):
    """In a process of its own, because HDF5 is said to crash at exit after a full disk."""
    folder = RunFolder.create(tmp_path / "runs", "big", kind="run", backend="s", simulated=True)
    n = 200_000
    for _ in range(4):
        folder.pulses({"op": 1, "phase": 3, "row": rng.integers(0, 9, n), "col": 1, "width": 1e-6,
                       "v": rng.normal(size=n), "count": 1, "i_read": rng.normal(size=n),
                       "g0": rng.random(n), "g1": rng.random(n)})  # fmt: skip
    folder.close()
    code = (
        "import sys\n"
        "from hil.cli.main import main\n"
        f"main(['export', {str(folder.path)!r}, '--to', {to!r}, '-o', {str(small_disk)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == StoreError.exit_code, done.stderr
    assert "No space left" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("hil: ")]) == 1
    assert left_in(small_disk) == []


@pytest.mark.parametrize(("to", "package"), [("hdf5", "h5py"), ("netcdf", "h5py")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    run, to, package, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendUnavailable, match=r'h5py: pip install "synapse-hil\[export\]"'):
        export_run(run, to, tmp_path / "run.h5")
    assert left_in(tmp_path) == ["runs"]


def test_without_xarray_to_xarray_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "synapse-hil\[export\]"'):
        run.to_xarray()


def test_what_cannot_be_exported_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="no format 'xlsx'; allowed: csv, parquet, hdf5"):
        export_run(run, "xlsx", tmp_path)
    with pytest.raises(ConfigError, match="no table 'cells'; allowed: reads, pulses, ops, origin"):
        export_run(run, "csv", tmp_path, table="cells")
    with pytest.raises(ConfigError, match="the table origin is a csv file, not mat"):
        export_run(run, "mat", tmp_path, table="origin")
    with pytest.raises(StoreError, match="no such folder"):
        export_run(run, "mat", tmp_path / "nowhere" / "run.mat")
    with pytest.raises(StoreError, match="no table 'cells'"):
        run.to_xarray("cells")


def test_rows_that_a_mat_file_cannot_hold_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_LARGEST", 300 * 71 // 2)
    with pytest.raises(StoreError, match=r"pulses: more than \d+ rows do not fit .* hdf5"):
        export_run(run, "mat", tmp_path / "run.mat")
    assert left_in(tmp_path) == ["runs"]


def test_what_is_not_in_the_files_is_listed(run, tmp_path):
    everything = export_run(run, "netcdf", tmp_path / "run.nc").left_out
    assert [line.partition(":")[0] for line in everything] == ["env"]
    one = export_run(run, "csv", tmp_path / "run.csv", table="ops").left_out
    named = [line.partition(":")[0] for line in one]
    assert named == ["table reads", "table pulses", "events", "checkpoints", "env"]
    assert "checkpoints: outcome.npz" in one


def test_an_outcome_that_cannot_be_read_is_listed(run, tmp_path):
    (run.path / "checkpoints" / "outcome.npz").write_bytes(b"PK no zip")
    left_out = export_run(run, "hdf5", tmp_path / "run.h5").left_out
    assert any("outcome.npz cannot be read" in line for line in left_out)


def test_files_are_called_after_the_run_and_the_table(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = run.path.name
    assert [str(f) for f in export_run(run, "mat").files] == [f"{name}.mat"]
    assert [str(f) for f in export_run(run, "hdf5", table="ops").files] == [f"{name}.ops.h5"]
    (tmp_path / "to").mkdir()
    written = export_run(run, "parquet", tmp_path / "to").files
    assert [f.name for f in written] == [f"{name}.{t}.parquet" for t in ("reads", "pulses", "ops")]


def test_the_rows_of_a_run_are_never_all_in_memory(run, tmp_path):
    for to in ("csv", "parquet", "hdf5", "netcdf"):
        export_run(run, to, tmp_path / f"run{SUFFIXES[to]}")
    export_run(run, "csv", tmp_path / "origin.csv", table="origin")
    assert not {"reads", "pulses", "ops"} & set(vars(run))


def test_sealed_and_unsealed_parts_are_exported_as_one_table(tmp_path, rng):
    policy = CommitPolicy(segment_bytes=8192, seal_share=0.0)
    folder = record(tmp_path / "runs", rng, 4000, policy=policy)
    folder.barrier()
    folder.close()
    parts = {file.suffix for file in (folder.path / "pulses").iterdir()}
    assert parts == {".parquet", ".arrows"}
    run = open_run(folder.path)
    done = export_run(run, "netcdf", tmp_path / "run.nc", table="pulses")
    assert done.rows == {"pulses": 4000}
    assert done.problems == ()
    with xr.open_dataset(tmp_path / "run.nc") as file:
        xr.testing.assert_identical(file.load(), run.to_xarray("pulses"))
