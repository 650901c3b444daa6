"""Bad protocol files: one clear line each, with file, line, field, value and what is allowed."""

from __future__ import annotations

import pytest
from hil_protocols.loader import load, parse
from protocol_arrays import setup_of

from hil.capabilities import Capabilities
from hil.errors import LimitError, ProtocolError

LTP = 'schema = 1\nkind = "ltp-ltd"\n'
MAP = 'schema = 1\nkind = "pulse-map"\n'
WV = 'schema = 1\nkind = "write-verify"\n'

FILES = [
    (
        "unknown field",
        LTP + "cycels = 3\n",
        "p.toml:3: cycels: unknown field; did you mean 'cycles'?",
    ),
    (
        "no kind",
        "schema = 1\n",
        "p.toml: kind: required field is missing (known: read-map, iv-sweep, ltp-ltd, pulse-map, "
        "endurance, write-verify, forming, pair-init, retention, half-select-disturb, "
        "read-disturb, forward, backward, update, refresh)",
    ),
    (
        "unknown kind",
        'schema = 1\nkind = "ltp-ldt"\n',
        "p.toml:2: kind: no such kind 'ltp-ldt'; did you mean 'ltp-ltd'?",
    ),
    ("no schema", 'kind = "read-map"\n', "p.toml: schema: required field is missing"),
    (
        "wrong schema",
        'schema = 2\nkind = "read-map"\n',
        "p.toml:1: schema: input should be 1, got 2",
    ),
    (
        "wrong dimension",
        LTP + 'write_width = "3 V"\n',
        "p.toml:3: write_width: '3 V' is a voltage; expected a time (s)",
    ),
    (
        "no unit",
        LTP + 'potentiate_voltage = "1.2"\n',
        "p.toml:3: potentiate_voltage: '1.2' has no unit; expected a voltage, e.g. \"1.2 V\"",
    ),
    (
        "a number for a quantity",
        LTP + "potentiate_voltage = 1.2\n",
        'p.toml:3: potentiate_voltage: 1.2 has no unit; write a voltage as text, e.g. "1 V"',
    ),
    (
        "unknown unit",
        LTP + 'write_width = "3 parsec"\n',
        "p.toml:3: write_width: unknown unit 'parsec' in '3 parsec'; expected a time (s)",
    ),
    (
        "negative width",
        LTP + 'write_width = "-1 us"\n',
        "p.toml:3: write_width: input should be greater than 0, got '-1 us'",
    ),
    (
        "wrong polarity",
        LTP + 'depress_voltage = "1 V"\n',
        "p.toml:3: depress_voltage: input should be less than 0, got '1 V'",
    ),
    (
        "a list entry with the wrong dimension",
        MAP + 'amplitudes = ["1 V", "1.5 V", "2 us"]\n',
        "p.toml:3: amplitudes[2]: '2 us' is a time; expected a voltage (V)",
    ),
    (
        "a negative width in a list",
        MAP + 'widths = [\n  "1 us",\n  "-2 us",\n]\n',
        "p.toml:3: widths[1]: input should be greater than 0, got '-2 us'",
    ),
    (
        "an empty list",
        MAP + "amplitudes = []\n",
        "p.toml:3: amplitudes: is an empty list; give at least one value",
    ),
    (
        "no list",
        MAP + 'amplitudes = "1 V"\n',
        "p.toml:3: amplitudes: needs a list, got str '1 V'",
    ),
    (
        "a sweep that goes the wrong way",
        MAP + 'amplitudes = { start = "1 V", stop = "2 V", step = "-0.1 V" }\n',
        "p.toml:3: amplitudes: step -0.1 does not lead from 1 to 2",
    ),
    (
        "a sweep with too many values",
        MAP + 'amplitudes = { start = "1 V", stop = "2 V", points = 200000 }\n',
        "p.toml:3: amplitudes: the sweep has 200000 values, at most 100000 are allowed",
    ),
    (
        "an unknown field of a sweep",
        MAP + 'amplitudes = { start = "1 V", end = "2 V" }\n',
        "p.toml:3: amplitudes.end: unknown field",
    ),
    (
        "NaN among targets",
        WV + 'targets = ["10 uS", nan]\n',
        'p.toml:3: targets[1]: nan has no unit; write a conductance as text, e.g. "1 S"',
    ),
    (
        "NaN as text among targets",
        WV + 'targets = ["nan S"]\n',
        "p.toml:3: targets[0]: cannot read 'nan S' as a conductance; expected e.g. \"1 S\"",
    ),
    (
        "NaN among relative targets",
        WV + "targets = { relative = [0.5, nan] }\n",
        "p.toml:3: targets.relative[1]: input should be a finite number, got nan",
    ),
    (
        "both kinds of targets",
        WV + 'targets = ["10 uS"]\ntarget_map = [["10 uS"]]\n',
        "p.toml:4: target_map: give either `targets` or `target_map`",
    ),
    (
        "a negative count",
        LTP + "cycles = -1\n",
        "p.toml:3: cycles: input should be greater than or equal to 1, got -1",
    ),
    (
        "text for a count",
        LTP + 'cycles = "3"\n',
        "p.toml:3: cycles: input should be a valid integer, got '3'",
    ),
    (
        "cells and a sample",
        LTP + "cells = [[0, 0]]\nsample = 3\n",
        "p.toml:4: sample: give either `cells` or `sample`",
    ),
    (
        "a negative cell",
        LTP + "cells = [[0, 0], [0, -1]]\n",
        "p.toml:3: cells[1][1]: input should be greater than or equal to 0, got -1",
    ),
    ("no TOML", "schema = \n", "p.toml:1: not valid TOML: Invalid value"),
]

MISFITS = [
    ("a cell outside", LTP + "cells = [[0, 0], [4, 0]]\n", "1R",
     "p.toml:3: cells[1]: cell (4, 0) is outside the 4 x 4 array"),
    ("a cell twice", LTP + "cells = [[1, 0], [1, 0]]\n", "1R",
     "p.toml:3: cells[1]: cell (1, 0) is listed twice"),
    ("too large a sample", LTP + "sample = 17\n", "1R",
     "p.toml:3: sample: 17 cells asked for, 16 are there"),
    ("erase without a port", LTP + 'depression = "erase"\n', "1R",
     "p.toml:3: depression: 'erase' is not possible: 1R cells have no erase port"),
    ("gate-off without gates", LTP + 'inhibit = "gate-off"\n', "1R",
     "p.toml:3: inhibit: gate-off needs cells with a select transistor (1T1R), these are 1R"),
    ("read at 0 V", 'schema = 1\nkind = "read-map"\nread_voltage = "0 V"\n', "1R",
     "p.toml:3: read_voltage: must not be 0 V"),
    ("targets outside the window", WV + 'targets = ["10 uS", "1 mS"]\n', "1R",
     "p.toml:3: targets: cell (0, 1) has target 0.001 S, allowed 1e-06 … 0.0001 S (8 such cells)"),
    ("a target map of another size", WV + 'target_map = [["10 uS", "20 uS"]]\n', "1R",
     "p.toml:3: target_map: has 1 rows of [2] values, the array is 4 x 4"),
    ("a part of a row under the ground scheme",
     LTP + 'inhibit = "ground"\ncells = [[0, 1]]\n', "1R",
     "p.toml:3: inhibit: the ground scheme writes whole rows: cell (0, 0) is not chosen but would "
     "be written"),
    ("write-verify under the ground scheme", WV + 'inhibit = "ground"\n', "1R",
     "p.toml:3: inhibit: the ground scheme writes whole rows; cells cannot be verified one by one"),
    ("a wrong amplitude sign", MAP + 'amplitudes = ["-1 V"]\n', "1R",
     "p.toml:3: amplitudes: -1 V is not above 0 V, as potentiate needs"),
    ("channel current through a gate",
     'schema = 1\nkind = "iv-sweep"\npath = "write"\n', "3T",
     "p.toml:3: path: 3T cells are written from gate to bit, which carries no channel current; "
     'use path = "read"'),
    ("a gate that is not there", 'schema = 1\nkind = "forming"\nlimit_by = "gate"\n', "1R",
     "p.toml:3: limit_by: 1R cells have no gate to limit by"),
    ("inputs of another length", 'schema = 1\nkind = "forward"\ninputs = [[1.0, 0.5]]\n', "1R",
     "p.toml:3: inputs[0]: has 2 values, the array takes 4"),
    ("erase first without a port", WV + "erase_first = true\n", "1R",
     "p.toml:2: erase: 1R cells have no erase port"),
    ("erase of cells without target",
     WV + "erase_first = true\ncells = [[0, 0]]\n", "3T",
     "p.toml:3: erase_first: the block erase would also clear cell (0, 1), which has no target "
     "(15 such cells); choose whole blocks"),
]  # fmt: skip


def check_all(setup, procedure):
    for index, block in enumerate(procedure.programme(setup.context)):
        setup.checker.check(block, index)


@pytest.mark.parametrize(("text", "message"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_a_bad_file_gets_one_clear_line(text, message):
    with pytest.raises(ProtocolError) as error:
        parse(text, "p.toml")
    assert str(error.value) == message
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "kind", "message"), [m[1:] for m in MISFITS], ids=[m[0] for m in MISFITS]
)
def test_a_file_that_does_not_fit_the_array_says_so_before_the_first_block(text, kind, message):
    procedure = parse(text, "p.toml")
    with pytest.raises(ProtocolError) as error:
        procedure.steps(setup_of(kind).context)
    assert str(error.value) == message


def test_a_level_above_the_limit_is_found_through_a_list_entry():
    setup = setup_of("1R")
    procedure = parse(MAP + 'amplitudes = ["1.5 V", "3.5 V"]\nreset_pulses = 0\n')
    with pytest.raises(LimitError, match=r"WL\d.*line level 1\.75 V against limit 1\.5 V"):
        check_all(setup, procedure)


def test_a_write_verify_that_starts_out_of_range_is_refused_before_the_first_block():
    setup = setup_of("1R")
    procedure = parse(WV + 'potentiate_voltage = "3.2 V"\n')
    with pytest.raises(LimitError, match=r"line level 1\.6 V against limit 1\.5 V"):
        procedure.steps(setup.context)


def test_a_compliance_needs_a_backend_that_limits_current():
    setup = setup_of("1R", capabilities=Capabilities(limits_current=False))
    with pytest.raises(LimitError, match="cannot limit current"):
        parse('schema = 1\nkind = "forming"\n').steps(setup.context)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ProtocolError, match=r"none\.toml: cannot be read"):
        load(tmp_path / "none.toml")
