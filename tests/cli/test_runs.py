"""`hil runs` and `hil seal`, as people use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from command import STATION, error_line, hil, hil_json, write

from hil.cli.commands.runs import size_text, time_of


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with a station and two runs."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder, "station.toml", STATION.replace("schema = 1", 'schema = 1\nname = "left bench"'))
    hil_json("run", "read-map", "--station", "station.toml", "--sim", cwd=folder)
    hil_json("run", "ltp-ltd", "--station", "station.toml", "--sim", cwd=folder)
    return folder


def test_runs_are_listed_newest_first(bench):
    lines = hil("runs", cwd=bench).stdout.splitlines()
    assert lines[0].split() == [
        "started", "status", "kind", "name", "station", "rows", "size", "time", "folder",
    ]  # fmt: skip
    assert [line.split()[4] for line in lines[1:3]] == ["ltp-ltd", "read-map"]
    assert lines[3] == "2 runs in runs"


def test_runs_are_filtered_sorted_and_given_to_programs(bench):
    found = hil_json("runs", "--name", "map", "--station", "left bench", cwd=bench)
    assert [(run["name"], run["status"], run["simulated"]) for run in found["runs"]] == [
        ("read-map", "done", True)
    ]
    by_rows = hil_json("runs", "--sort", "rows", "--reverse", "--since", "1h", cwd=bench)["runs"]
    assert [run["name"] for run in by_rows] == ["read-map", "ltp-ltd"]
    assert hil_json("runs", "--status", "failed", cwd=bench)["runs"] == []
    assert hil_json("runs", "-n", 1, "--rebuild", cwd=bench)["found"] == 2


def test_a_damaged_catalogue_is_rebuilt_in_one_line(bench):
    before = hil_json("runs", cwd=bench)["runs"]
    (bench / "runs" / "catalogue.sqlite").write_bytes(b"rubbish" * 1000)
    done = hil("runs", cwd=bench)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "was damaged" in done.stderr
    assert hil_json("runs", cwd=bench)["runs"] == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("runs", "nowhere"), 7, "nowhere: no such folder"),
        (("runs", "--sort", "colour"), 2, "'colour'; runs are sorted by started"),
        (("runs", "--since", "soon"), 2, "'soon' is no date"),
        (("seal", "runs"), 7, "not a run folder"),
    ],
    ids=["no folder", "no order", "no date", "no run"],
)
def test_what_is_wrong_is_said_in_one_line(bench, arguments, code, says):
    assert says in error_line(*arguments, cwd=bench, code=code)


def test_a_sealed_run_shows_the_same_rows(bench):
    run = hil_json("runs", "--name", "ltp-ltd", cwd=bench)["runs"][0]["folder"]
    before = hil_json("show", f"runs/{run}", cwd=bench)
    hil_json("seal", f"runs/{run}", cwd=bench)
    assert not list((bench / "runs" / run).rglob("0*.arrows"))
    after = hil_json("show", f"runs/{run}", "--verify", cwd=bench)
    assert after["rows"] == before["rows"]
    assert after["problems"] == []


def test_an_age_is_counted_back_and_a_date_is_local():
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert time_of("90m", now) == now - timedelta(minutes=90)
    assert time_of("2 w", now) == now - timedelta(weeks=2)
    assert time_of("2026-11-21T10:00:00+02:00") == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert time_of("2026-11-21").astimezone().hour == 0
    with pytest.raises(typer.BadParameter):
        time_of("99999999999w")


def test_sizes_are_short():
    assert [size_text(n) for n in (0, 999, 1000, 5_370_000, 2_500_000_000)] == [
        "0 B", "999 B", "1 kB", "5.37 MB", "2.5 GB",
    ]  # fmt: skip
