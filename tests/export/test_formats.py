"""Files of every format, opened by the programs that they are for."""

from __future__ import annotations

import csv
import json

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.io
import xarray as xr
from runs_to_export import NAME

from hil.export import export_run
from hil.record.schema import TABLES

UNITS = {table: {c.name: c.unit or "1" for c in columns} for table, columns in TABLES.items()}
MEANINGS = {table: {c.name: c.meaning for c in columns} for table, columns in TABLES.items()}
WITH_TABLES = pytest.mark.parametrize("table", ["reads", "pulses", "ops"])
ENGINES = pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])


def expected(run, table, name):
    """Return a column as floats where null is NaN."""
    return run.to_pandas(table)[name].to_numpy(dtype=float, na_value=np.nan)


@pytest.fixture
def hdf5(run, tmp_path):
    export_run(run, "hdf5", tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        yield file


@pytest.fixture
def mat(run, tmp_path):
    export_run(run, "mat", tmp_path / "run.mat")
    return scipy.io.loadmat(tmp_path / "run.mat", struct_as_record=False, squeeze_me=True)


@WITH_TABLES
def test_pandas_reads_the_csv_file_with_units_in_its_head(run, table, tmp_path):
    export_run(run, "csv", tmp_path / "run.csv", table=table)
    frame = pd.read_csv(tmp_path / "run.csv")
    heads = [f"{c.name} [{c.unit}]" if c.unit else c.name for c in TABLES[table]]
    assert list(frame.columns) == heads
    for column, head in zip(TABLES[table], heads, strict=True):
        # Every digit that tells a value from its neighbours is in the file; pandas before 3 reads
        # the last one of a double wrongly now and then.
        found = frame[head].to_numpy(column.dtype if column.dtype.kind == "f" else float)
        np.testing.assert_allclose(found, expected(run, table, column.name), rtol=3e-16, atol=0)


@WITH_TABLES
def test_the_file_beside_the_csv_says_types_units_and_meanings(run, table, tmp_path):
    export_run(run, "csv", tmp_path / "run.csv", table=table)
    said = json.loads((tmp_path / "run.csv-metadata.json").read_text(encoding="utf-8"))
    with (tmp_path / "run.csv").open(encoding="utf-8", newline="") as file:
        heads = next(csv.reader(file))
    columns = said["tableSchema"]["columns"]
    assert said["url"] == "run.csv"
    assert [c["titles"] for c in columns] == heads
    assert {c["name"]: c["schema:unitText"] for c in columns} == UNITS[table]
    assert {c["name"]: c["dc:description"] for c in columns} == MEANINGS[table]
    assert said["notes"][0]["manifest"] == run.manifest
    assert said["notes"][0]["run_status"] == "done"


@WITH_TABLES
def test_pandas_and_arrow_read_the_parquet_file(run, table, tmp_path):
    export_run(run, "parquet", tmp_path / "run.parquet", table=table)
    frame = pd.read_parquet(tmp_path / "run.parquet")
    for name in UNITS[table]:
        found = frame[name].to_numpy(dtype=float, na_value=np.nan)
        np.testing.assert_array_equal(found, expected(run, table, name))
    schema = pq.read_schema(tmp_path / "run.parquet")
    assert {f.name: f.metadata[b"unit"].decode() or "1" for f in schema} == UNITS[table]
    assert {f.name: f.metadata[b"meaning"].decode() for f in schema} == MEANINGS[table]
    for found, wanted in zip(
        pq.read_table(tmp_path / "run.parquet"), getattr(run, table), strict=True
    ):
        assert found.type == wanted.type
        assert found.is_null().equals(wanted.is_null())
    noted = pq.read_metadata(tmp_path / "run.parquet").metadata
    assert json.loads(noted[b"manifest"]) == run.manifest
    assert noted[b"title"].decode() == NAME


@WITH_TABLES
def test_h5py_reads_values_units_and_dimensions(run, hdf5, table):
    group = hdf5[table]
    assert [name for name in group if name != "reading"] == list(UNITS[table])
    for column in TABLES[table]:
        variable = group[column.name]
        assert variable.attrs["units"] == UNITS[table][column.name]
        assert variable.attrs["long_name"] == column.meaning
        values = variable[:].astype(float)
        if column.nullable and variable.dtype.kind == "i":
            assert variable.attrs["_FillValue"] == -1
            values[values == -1] = np.nan
        else:
            assert variable.dtype == column.dtype
        np.testing.assert_array_equal(values, expected(run, table, column.name))
    along = "reading" if table == "reads" else "seq"
    names = [c.name for c in TABLES[table] if c.name != along]
    assert all(group[name].dims[0][0].name == f"/{table}/{along}" for name in names)


def test_hdf5_names_the_codes_of_phases_and_statuses(run, hdf5):
    phase, status = hdf5["pulses/phase"], hdf5["pulses/status"]
    named = zip(phase.attrs["flag_meanings"].split(), phase.attrs["flag_values"], strict=True)
    assert dict(named) == run.manifest["phases"]
    named = zip(status.attrs["flag_meanings"].split(), status.attrs["flag_masks"], strict=True)
    assert dict(named) == run.manifest["status_bits"]
    assert phase.attrs["flag_values"].dtype == phase.dtype


def test_hdf5_holds_manifest_events_and_outcome(run, hdf5):
    text = {name: hdf5["run"][name].asstr() for name in ("manifest", "stop", "events")}
    assert json.loads(text["manifest"][()]) == run.manifest
    assert json.loads(text["stop"][()]) == run.stop
    assert [json.loads(line) for line in text["events"][:]] == run.events
    with np.load(run.path / "checkpoints" / "outcome.npz") as outcome:
        for name in ("g_siemens", "stuck", "level_v"):
            np.testing.assert_array_equal(hdf5["outcome"][name][()], outcome[name])
        assert list(hdf5["outcome/state"].asstr()[:]) == list(outcome["state"])
    assert hdf5["outcome/g_siemens"].attrs["units"] == "S"
    assert hdf5["outcome/level_v"].attrs["units"] == "V"
    assert hdf5.attrs["title"] == NAME


@ENGINES
@WITH_TABLES
def test_xarray_reads_a_netcdf_table_as_to_xarray_gives_it(run, table, engine, tmp_path):
    export_run(run, "netcdf", tmp_path / "run.nc", table=table)
    with xr.open_dataset(tmp_path / "run.nc", engine=engine) as found:
        xr.testing.assert_identical(found.load(), run.to_xarray(table))


@ENGINES
@pytest.mark.parametrize("to", ["netcdf", "hdf5"])
def test_xarray_reads_all_tables_as_groups(run, to, engine, tmp_path):
    export_run(run, to, tmp_path / "run.nc")
    with xr.open_datatree(tmp_path / "run.nc", engine=engine) as tree:
        assert set(tree.children) == {"reads", "pulses", "ops", "outcome", "run"}
        for table in TABLES:
            wanted = run.to_xarray(table).drop_attrs(deep=False)
            xr.testing.assert_identical(tree[table].to_dataset(inherit=False).load(), wanted)
        assert tree.attrs == run.to_xarray().attrs
        assert tree["outcome/g_siemens"].shape == (4, 4)
        assert tree["run/events"].size == len(run.events)


def test_netcdf_dimensions_have_the_names_of_the_rows(run, tmp_path):
    export_run(run, "netcdf", tmp_path / "run.nc")
    with netCDF4.Dataset(tmp_path / "run.nc") as file:
        assert list(file["pulses"].dimensions) == ["seq"]
        assert file["reads"].dimensions["reading"].size == run.reads.num_rows
        assert "reading" not in file["reads"].variables
        assert file["pulses/v"].units == "V"
        # Masked where it is null, by the library itself.
        assert file["pulses/executed"][:].mask.sum() == run.pulses["executed"].null_count
        assert [str(v) for v in file["pulses"].variables] == list(UNITS["pulses"])


@WITH_TABLES
def test_scipy_reads_the_mat_file_with_structs_of_units_and_meanings(run, mat, table, tmp_path):
    vectors = scipy.io.loadmat(tmp_path / "run.mat")[table]
    for column in TABLES[table]:
        name = column.name
        values = vectors[name][0, 0]
        is_count = column.nullable and column.dtype.kind == "u"
        assert values.dtype == (np.float64 if is_count else column.dtype)
        np.testing.assert_array_equal(values[:, 0].astype(float), expected(run, table, name))
        assert getattr(mat["units"], table).__dict__[name] == UNITS[table][name]
        assert getattr(mat["meanings"], table).__dict__[name] == column.meaning


def test_the_mat_file_holds_manifest_events_and_outcome(run, mat):
    assert json.loads(mat["run"].manifest) == run.manifest
    assert [json.loads(line) for line in mat["run"].events] == run.events
    assert mat["run"].title == NAME
    assert mat["run"].run_status == "done"
    assert run.manifest["phases"]["PROGRAM"] == mat["run"].phases.PROGRAM
    with np.load(run.path / "checkpoints" / "outcome.npz") as outcome:
        np.testing.assert_array_equal(mat["outcome"].g_siemens, outcome["g_siemens"])
        assert list(mat["outcome"].state) == list(outcome["state"])
    assert mat["units"].outcome.g_siemens == "S"


def test_columns_in_a_mat_file_are_columns(run, tmp_path):
    export_run(run, "mat", tmp_path / "run.mat")
    plain = scipy.io.loadmat(tmp_path / "run.mat")
    assert plain["pulses"]["v"][0, 0].shape == (run.pulses.num_rows, 1)


def test_to_xarray_knows_units_null_and_the_run(run):
    pulses = run.to_xarray()
    assert pulses.sizes == {"seq": run.pulses.num_rows}
    assert pulses.g1.attrs["units"] == "S"
    np.testing.assert_array_equal(pulses.executed, expected(run, "pulses", "executed"))
    assert pulses.attrs["run_id"] == run.manifest["id"]
    chosen = pulses.where(pulses.row == 2, drop=True)
    assert chosen.sizes["seq"] == int((run.pulses["row"].to_numpy() == 2).sum())
