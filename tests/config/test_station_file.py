from __future__ import annotations

import math

import numpy as np
import pytest

from hil.config.station import Station, load_station, span_lines
from hil.config.toml_file import validate_text
from hil.errors import ConfigError
from hil.geometry import THREE_TERMINAL
from hil.limits import SafetyLimits

GOOD = """
schema = 1
name = "bench"

[[array]]
name = "left"
rows = 5
cols = 6
dead = [[1, 2]]

[[array]]
name = "right"
rows = 8
cols = 2
cell = "3T"
block_rows = 4

[drive]
read_voltage = "0.2 V"
inhibit = "v/3"

[limits]
level = ["-2 V", "2 V"]
width = ["100 ns", "1 ms"]
width_grid = "100 ns"
compliance = "1 mA"
half_select = "1 V"
pulses_per_device = 1000
[limits.lines.WL]
level = ["-1 V", "1.5 V"]
[limits.lines.WL3]
level = ["0 V", "0.5 V"]

[[instrument]]
name = "smu"
driver = "smu"
resource = "a"

[[instrument]]
name = "matrix"
driver = "matrix"
resource = "b"

[[wiring]]
line = "WL0:4"
channel = "smu.a"
crosspoint = "matrix/1"
array = "left"

[twin]
seed = 7
"""


def load(text):
    return validate_text(text, Station, "station.toml")


def refused(text, old, new):
    assert text.count(old) == 1, old
    with pytest.raises(ConfigError) as caught:
        load(text.replace(old, new))
    return caught.value


def test_a_station_file_is_read_in_si():
    station = load(GOOD)
    assert station.backend == "rig"
    assert station.twin.seed == 7
    left = station.array_called("left").geometry()
    assert left.shape == (5, 6)
    assert np.argwhere(left.dead_mask).tolist() == [[1, 2]]
    right = station.array_called("right").geometry()
    assert right.cell is THREE_TERMINAL
    assert right.n_blocks == 2
    assert station.drive is not None
    assert station.drive.operating_point().inhibit == "v/3"


def test_limits_are_read_in_si_and_what_is_left_out_is_not_limited():
    limits = load(GOOD).limits.limits()
    assert (limits.level_v.min, limits.level_v.max) == (-2.0, 2.0)
    assert (limits.width_s.min, limits.width_s.max) == (1e-7, 1e-3)
    assert limits.width_s.resolution == 1e-7
    assert limits.compliance_a == 1e-3
    assert limits.half_select_v == 1.0
    assert limits.pulses_per_device == 1000
    assert limits.group_level_v["WL"].max == 1.5
    assert limits.line_level_v["WL3"].max == 0.5
    assert limits.slew_v_per_s == limits.energy_joule == math.inf
    assert load("schema = 1\n[[array]]\nrows = 1\ncols = 1").limits.limits() == SafetyLimits()


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ('name = "bench"', 'nmae = "bench"', "nmae", "did you mean 'name'"),
        ("schema = 1", "schema = 2", "schema", "input should be 1"),
        ("schema = 1", "", "schema", "missing"),
        ("rows = 5", "rows = 0", "array[0].rows", "greater than or equal to 1, got 0"),
        ("rows = 5", "rows = 5000", "array[0].rows", "less than or equal to 4096, got 5000"),
        ("rows = 5", 'rows = "5"', "array[0].rows", "integer"),
        ("rows = 5", "rows = 5.0", "array[0].rows", "integer"),
        ("rows = 5", "rows = true", "array[0].rows", "integer"),
        ("dead = [[1, 2]]", "dead = [[5, 0]]", "array[0]", "dead cell (5, 0)"),
        ('name = "right"', 'name = "left"', "", "two arrays are called 'left'"),
        ('cell = "3T"', 'cell = "4T"', "array[1].cell", "'1R', '1T1R' or '3T'"),
        ('"0.2 V"', '"0.2 s"', "drive.read_voltage", "is a time; expected a voltage"),
        ('"0.2 V"', "0.2", "drive.read_voltage", "has no unit"),
        ('"0.2 V"', "nan", "drive.read_voltage", "has no unit"),
        ('"0.2 V"', '"0 V"', "drive", "must not be 0 V"),
        ('"v/3"', '"v/4"', "drive.inhibit", "'v/2', 'v/3'"),
        ('["-2 V", "2 V"]', '["2 V", "-2 V"]', "limits.level", "2 is above the second -2"),
        ('["-2 V", "2 V"]', '["-2 V"]', "limits.level[1]", "missing"),
        ('["-2 V", "2 V"]', '["-2 V", "2 A"]', "limits.level[1]", "is a current"),
        ("[limits.lines.WL3]", "[limits.lines.WL9]", "limits.lines", "no line 'WL9'"),
        ('"WL0:4"', '"WL0:6"', "wiring[0].line", "no line 'WL5'"),
        ('"WL0:4"', '"rows"', "", "no line such as WL3"),
        ('channel = "smu.a"', 'channel = "sm.a"', "wiring[0].channel", "no instrument"),
        ('"matrix/1"', '"mtx/1"', "wiring[0].crosspoint", "no instrument"),
        ('array = "left"', 'array = "middle"', "wiring[0]", "no array is called 'middle'"),
        ('name = "matrix"', 'name = "smu"', "", "two instruments are called 'smu'"),
        ("seed = 7", "seed = -7", "twin.seed", "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_wrong_station_file_is_refused_with_its_field(old, new, field, says):
    error = refused(GOOD, old, new)
    assert (error.field or "") == field
    assert says in str(error)
    assert str(error).startswith("station.toml")
    assert "\n" not in str(error)


def test_an_error_names_the_line_of_the_file():
    error = refused(GOOD, "rows = 5", "rows = 0")
    assert error.line == GOOD.splitlines().index("rows = 5") + 1
    assert f"station.toml:{error.line}: array[0].rows: " in str(error)


def test_a_line_that_is_wired_twice_is_refused():
    twice = GOOD + '\n[[wiring]]\nline = "WL3"\nchannel = "smu.b"\narray = "left"\n'
    with pytest.raises(ConfigError, match="line WL3 of array 'left' is wired twice") as caught:
        load(twice)
    assert caught.value.field == "wiring[1].line"
    assert caught.value.line == twice.splitlines().index('line = "WL3"') + 1


def test_the_path_is_where_the_file_is_and_no_field_of_it(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    station = load_station(file)
    assert station.path == file
    assert station.beside("d.toml") == tmp_path / "d.toml"
    with pytest.raises(ConfigError, match="no array is called 'x'; there are left, right"):
        station.array_called("x")
    file.write_text('path = "elsewhere"\n' + GOOD)
    with pytest.raises(ConfigError, match="`path` is not a field"):
        load_station(file)


def test_spans_of_lines_are_written_out():
    assert span_lines("BL2:3") == ["BL2", "BL3", "BL4"]
    assert span_lines("GL7") == ["GL7"]
    for wrong in ("BL", "2", "BL2:0", "BL0:9999", "bl2"):
        with pytest.raises(ValueError, match=wrong):
            span_lines(wrong)
