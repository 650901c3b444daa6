from __future__ import annotations

import math

import pytest

from hil.config.drive import DriveTable
from hil.config.toml_file import validate_text
from hil.errors import ConfigError


def drive(text):
    return validate_text(text, DriveTable, "drive.toml").operating_point()


def test_a_drive_table_becomes_an_operating_point_in_si():
    op = drive(
        'g_min = "1 uS"\ng_max = "100 uS"\nread_voltage = "200 mV"\nwrite_width = "500 ns"\n'
        'compliance = "1 mA"\nrise = "10 ns"\n[sense]\nrange = "10 uA"\naverages = 3\n'
    )
    assert (op.g_min_siemens, op.g_max_siemens) == (1e-6, 1e-4)
    assert (op.read_v, op.write_s, op.compliance_a, op.rise_s) == (0.2, 5e-7, 1e-3, 1e-8)
    assert (op.sensing.range_a, op.sensing.averages) == (1e-5, 3)
    assert op.form_compliance_a == math.inf


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('g_min = "2 S"\ng_max = "1 S"', "is empty or negative"),
        ('g_min = "-1 S"', "is empty or negative"),
        ('read_width = "0 s"', "must be above 0 s"),
        ('write_width = "-1 us"', "must be above 0 s"),
        ('potentiate_voltage = "-1 V"', "must be above 0 V"),
        ('depress_voltage = "1 V"', "must be below 0 V"),
        ("count_levels = 0", "greater than or equal to 1"),
        ('coding = "phase"', "'width', 'amplitude' or 'count'"),
        ('colour = "red"', "unknown field"),
    ],
)
def test_a_drive_table_that_drives_nothing_sensible_is_refused(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        drive(text)
    assert "\n" not in str(caught.value)
