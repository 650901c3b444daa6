"""A framed board from the command line: starter station, plan, virtual run, wire log."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from serial_bench import on_bench, station_of, text_of

from hil.cli.commands.init import starter_files
from hil.config.toml_file import validate_text
from hil.errors import ConfigError
from hil.phases.reading import read_map
from hil.registry import backend_factory


def hil(*args, cwd):
    return subprocess.run(
        [sys.executable, "-m", "hil.cli.main", *args], cwd=cwd, capture_output=True, text=True,
        encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def test_the_starter_station_runs_on_the_virtual_bench_and_every_byte_is_logged(tmp_path):
    for name, text in starter_files(board=True).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = hil("run", "read-map", "-s", "station.toml", "--virtual", "--wire-log", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("backend: board on the virtual bench: board synapse-hil,")
    assert "of which 1 are matrix reads" in done.stdout
    (log,) = (tmp_path / "runs").glob("*/wire.jsonl")
    exchanges = [json.loads(line) for line in log.read_text().splitlines()]
    assert {e["op"] for e in exchanges} == {"write", "read"}
    assert all(e["instrument"] == "board" for e in exchanges)


def test_a_plan_is_made_for_a_board_that_was_not_asked():
    station = station_of(text_of())
    board = backend_factory("rig").create(station, station.array[0], seed=0)
    programme = read_map(board.geometry, station.drive.operating_point(), board.capabilities)
    lines = board.preview(programme)
    assert any("assumed" in line for line in lines)
    assert board.predicted_s(programme) > 4 * 2.1e-3
    with on_bench(station) as (board, _), board:
        assert not any("assumed" in line for line in board.preview(programme))


def test_a_simulator_cannot_obey_a_board_that_it_never_asked():
    station = station_of(text_of() + "[twin]\nas_rig = true\n")
    with pytest.raises(ConfigError, match="current_resolution"):
        backend_factory("sim").create(station, station.array[0], seed=0)


@pytest.mark.parametrize(
    ("settings", "field"),
    [("baud = 0", "baud"), ('timeout = "0 s"', "timeout"), ("parity = 1", "parity"),
     ('watchdog = "1 ms"', "watchdog")],
)  # fmt: skip
def test_wrong_settings_are_named(settings, field):
    station = station_of(text_of(settings=settings))
    with pytest.raises(ConfigError, match=field):
        backend_factory("rig").create(station, station.array[0], seed=0)


@pytest.mark.parametrize(
    "wiring",
    ['[[wiring]]\nline = "WL0:4"\nchannel = "board.w0"\n',
     '[[wiring]]\nline = "WL0:4"\nchannel = "board.w1"\n[[wiring]]\nline = "BL0:4"\n'
     'channel = "board.b0"\n'],
    ids=["half of it", "a line that is not there"],
)  # fmt: skip
def test_wiring_that_is_not_one_line_each_is_refused(wiring):
    station = station_of(text_of() + wiring)
    with pytest.raises(ConfigError, match="line"):
        backend_factory("rig").create(station, station.array[0], seed=0)


def test_the_starter_station_says_what_the_template_says():
    text = backend_factory("rig").templates()["board-station.toml"]
    from hil.config.station import Station

    assert validate_text(text, Station, "station.toml").instrument[0].driver == "serial-board"
