from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.config.quantities import Second, Table, Volt
from hil.config.toml_file import (
    MAX_FILE_BYTES,
    key_lines,
    line_of,
    load_model,
    parse_text,
    read_text,
    validate_text,
)
from hil.errors import ConfigError, ProtocolError


class Inner(Table):
    width: Second
    levels: tuple[Volt, ...] = ()


class Outer(Table):
    name: str = ""
    pulse: Inner
    train: tuple[Inner, ...] = ()


def test_quantities_become_floats_and_are_written_back_with_units():
    outer = validate_text('[pulse]\nwidth = "3 us"\nlevels = ["1 V", "-20 mV"]', Outer)
    assert outer.pulse.width == 3e-6
    assert outer.pulse.levels == (1.0, -0.02)
    assert outer.pulse.model_dump() == {"width": "3 us", "levels": ("1 V", "-20 mV")}


def test_a_wrong_entry_of_a_list_is_named_by_its_number():
    with pytest.raises(ConfigError) as caught:
        validate_text('[pulse]\nwidth = "3 us"\nlevels = ["1 V", "2 s"]', Outer, "p.toml")
    assert str(caught.value).startswith("p.toml:3: pulse.levels[1]: ")


def test_the_error_class_is_the_callers():
    with pytest.raises(ProtocolError, match="required field is missing"):
        validate_text("", Outer, error=ProtocolError)


def test_further_errors_are_counted():
    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        validate_text('a = 1\nb = 2\n[pulse]\nwidth = "1 s"', Outer)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
        ("[a\n", "not valid TOML"),
        ("a = " + "[" * 20_000, "not valid TOML"),
    ],
)
def test_what_is_no_toml_is_one_clear_line(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_text(text, "x.toml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.toml")


def test_files_that_cannot_be_read_are_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_text(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "µ"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load_model(latin, Outer)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_text(huge)


LINES = '''# head
name = "x"
[pulse]
width = "1 s"
"quoted key" = 1
a.b = 2

[[train]]
width = "1 s"
text = """
[not.a.table]
width = 3
"""
[[train]]
levels = []
[train.deep]
x = 1
'''


def test_every_key_and_table_has_its_line():
    lines = key_lines(LINES)
    assert lines["name",] == 2
    assert lines["pulse",] == 3
    assert lines["pulse", "width"] == 4
    assert lines["pulse", "quoted key"] == 5
    assert lines["pulse", "a", "b"] == 6
    assert lines["train", 0] == 8
    assert lines["train", 0, "width"] == 9
    assert lines["train", 1, "levels"] == 15
    assert lines["train", 1, "deep", "x"] == 17
    assert ("not", "a", "table") not in lines


def test_a_place_without_a_line_takes_that_of_the_table_around_it():
    lines = key_lines(LINES)
    assert line_of(lines, ("train", 1, "levels", 4)) == 15
    assert line_of(lines, ("train", 0, "missing")) == 8
    assert line_of(lines, ("nowhere",)) is None


@given(
    st.dictionaries(
        st.text("abcxyz_-", min_size=1, max_size=6), st.integers(-9, 9), min_size=1, max_size=6
    )
)
def test_lines_agree_with_the_parser(values):
    text = "\n".join(f"{key} = {value}" for key, value in values.items())
    assert tomllib.loads(text) == values
    assert key_lines(text) == {(key,): n for n, key in enumerate(values, start=1)}
