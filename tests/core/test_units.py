from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UnitError
from hil.units import DIMENSIONS, dimension_of, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("1.2 V", "voltage", 1.2),
        ("10 us", "time", 10e-6),
        ("10 µs", "time", 10e-6),
        ("100uA", "current", 100e-6),
        ("  -3.5  mV ", "voltage", -3.5e-3),
        ("1e-7 s", "time", 1e-7),
        ("5 min", "time", 300.0),
        ("2 h", "time", 7200.0),
        ("4.7 kohm", "resistance", 4700.0),
        ("4.7 kΩ", "resistance", 4700.0),
        ("1 V/us", "slew rate", 1e6),
        ("20 nS", "conductance", 20e-9),
        ("3 us", "time", 3e-6),
    ],
)
def test_a_quantity_is_read_in_si(text, dimension, value):
    assert parse_quantity(text, dimension) == value


@pytest.mark.parametrize(
    ("text", "dimension", "says"),
    [
        ("10", "time", "has no unit"),
        (10, "time", "has no unit"),
        (1e-6, "time", "has no unit"),
        (None, "time", "has no unit"),
        ("10 us", "voltage", "is a time; expected a voltage"),
        ("1 S", "time", "is a conductance; expected a time"),
        ("1 xV", "voltage", "unknown unit 'xV'"),
        ("1 V V", "voltage", "cannot read"),
        ("one V", "voltage", "cannot read"),
        ("nan V", "voltage", "cannot read"),
        ("inf V", "voltage", "cannot read"),
        ("1e999 V", "voltage", "not a finite"),
        ("0x10 V", "voltage", "cannot read"),
        ("", "voltage", "cannot read"),
        ("1,5 V", "voltage", "cannot read"),
    ],
)
def test_a_quantity_that_cannot_be_meant_is_refused(text, dimension, says):
    with pytest.raises(UnitError, match=says):
        parse_quantity(text, dimension)


def test_every_symbol_belongs_to_exactly_its_dimension():
    for dimension, (symbol, _) in DIMENSIONS.items():
        assert dimension_of(symbol) == dimension
    assert dimension_of("parsec") is None


@given(
    st.floats(1e-17, 1e13) | st.floats(-1e13, -1e-17),
    st.sampled_from(["voltage", "current", "time", "conductance"]),
)
def test_formatting_and_reading_are_inverse(value, dimension):
    symbol, _ = DIMENSIONS[dimension]
    text = format_quantity(value, symbol, digits=12)
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-11)


@given(st.floats(1e-17, 9e14))
def test_formatting_uses_an_engineering_prefix(value):
    number = float(format_quantity(value, "V").split()[0])
    assert 1 <= abs(number) < 1000 or not 1e-18 <= value < 1e15


def test_numbers_without_a_size_are_formatted_as_they_are():
    assert format_quantity(0.0, "V") == "0 V"
    assert format_quantity(math.inf, "A") == "inf A"
    assert format_quantity(9999.6e-6, "s") == "10 ms"
    assert format_quantity(999.96e-6, "s") == "1 ms"
