"""One row per pulse, as Origin imports it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_to_export import NAME

from hil.export import export_run, origin
from hil.export.origin import COLUMNS, PulseCounts, status_text
from hil.program import Phase
from hil.record import RunFolder, open_run


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        names, units, comments, *rows = csv.reader(file)
    return names, units, comments, [dict(zip(names, row, strict=True)) for row in rows]


def unrolled(run):
    """Yield pulse by pulse what the table must say, the slow way."""
    seen: dict[tuple[int, ...], int] = {}
    for train in run.pulses.to_pylist():
        device = train["layer"], train["row"], train["col"]
        for k in range(train["count"]):
            seen[device] = seen.get(device, 0) + 1
            first, last = k == 0, k == train["count"] - 1
            executed, current = train["executed"], train["i_read"]
            yield {
                "Device pulse": seen[device],
                "Row": train["row"],
                "Column": train["col"],
                "Layer": train["layer"],
                "Train": train["seq"],
                "Pulse in train": k + 1,
                "Voltage": train["v"],
                "Ran": None if executed is None else int(k < executed),
                "Conductance before": train["g0"] if first else None,
                "Conductance after": train["g1"] if last else None,
                "Current": current if last and not np.isnan(current) else None,
                "Temperature": None,
                "Train start": train["t_ns"] * 1e-9,
                "Width": train["width"],
            }


@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_every_pulse_of_a_train_has_a_row_of_its_own(run, tmp_path, monkeypatch, piece):
    monkeypatch.setattr(origin, "_PIECE_ROWS", piece)
    done = export_run(run, "csv", tmp_path / "run.csv", table="origin")
    *_, rows = rows_of(tmp_path / "run.csv")
    wanted = list(unrolled(run))
    assert len(rows) == len(wanted) == done.rows["origin"] == sum(run.pulses["count"].to_pylist())
    for row, pulse in zip(rows, wanted, strict=True):
        for name, value in pulse.items():
            if value is None:
                assert row[name] == "", name
            else:
                assert np.float32(row[name]) == np.float32(value), name


def test_the_first_rows_are_long_names_units_and_comments(run, tmp_path):
    export_run(run, "csv", tmp_path / "run.csv", table="origin")
    names, units, comments, rows = rows_of(tmp_path / "run.csv")
    assert names == [c.name for c in COLUMNS]
    assert dict(zip(names, units, strict=True))["Conductance after"] == "S"
    assert dict(zip(names, units, strict=True))["Train start"] == "s"
    assert NAME in comments[0]
    assert all(comments)
    assert {row["Phase"] for row in rows} == {"UPDATE", "PROGRAM", "ERASE"}
    assert {row["Status"] for row in rows} == {"OK", "SIMULATED", "COUNT_UNKNOWN|SIMULATED"}


def test_numbers_are_numbers_to_origin(run, tmp_path):
    """A text such as nan would turn a column of numbers into one of texts."""
    export_run(run, "csv", tmp_path / "run.csv", table="origin")
    *_, rows = rows_of(tmp_path / "run.csv")
    for column in COLUMNS:
        if column.type != "string":
            values = [float(row[column.name]) for row in rows if row[column.name]]
            assert np.isfinite(values).all()


def test_the_file_beside_says_that_there_are_three_head_rows(run, tmp_path):
    export_run(run, "csv", tmp_path / "run.csv", table="origin")
    said = json.loads((tmp_path / "run.csv-metadata.json").read_text(encoding="utf-8"))
    assert said["dialect"]["headerRowCount"] == 3
    assert [c["titles"] for c in said["tableSchema"]["columns"]] == [c.name for c in COLUMNS]


def test_a_run_that_did_not_end_says_so_in_the_comments(tmp_path, recorded):
    export_run(open_run(recorded["interrupted"]), "csv", tmp_path / "run.csv", table="origin")
    _, _, comments, _ = rows_of(tmp_path / "run.csv")
    assert "run interrupted" in comments[0]


def test_one_train_may_be_longer_than_memory(tmp_path):
    folder = RunFolder.create(tmp_path, "endurance", kind="run", backend="sim", simulated=True)
    n = 100_000
    train = {"op": 1, "phase": Phase.UPDATE, "row": 0, "v": 1.0, "width": 1e-6}
    folder.pulses({**train, "col": [1, 2], "count": [n, 1], "executed": [n - 1, 1]})
    folder.close()
    export_run(open_run(folder.path), "csv", tmp_path / "run.csv", table="origin")
    *_, rows = rows_of(tmp_path / "run.csv")
    assert len(rows) == n + 1
    assert [rows[k]["Device pulse"] for k in (0, n - 1, n)] == ["1", str(n), "1"]
    assert [rows[k]["Ran"] for k in (n - 2, n - 1, n)] == ["1", "0", "1"]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1)), min_size=1)),
)
def test_pulses_are_counted_per_device_across_pieces(pieces):
    counts, seen = PulseCounts(), {}
    for piece in pieces:
        wanted = []
        for key, n in piece:
            wanted.append(seen.get(key, 0))
            seen[key] = wanted[-1] + n
        key, count = np.array(piece, dtype=np.int64).T
        assert counts.before(key, count).tolist() == wanted


def test_a_status_with_a_bit_without_a_name_shows_its_number():
    assert status_text(0, {1: "A", 2: "B"}) == "OK"
    assert status_text(3, {1: "A", 2: "B"}) == "A|B"
    assert status_text(5, {1: "A", 2: "B"}) == "A|0x4"
