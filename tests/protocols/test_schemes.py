"""Inhibit schemes, codings and slicing, seen in compiled blocks; streaming of long protocols."""

from __future__ import annotations

import itertools
import tomllib
import tracemalloc
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from hil_protocols.loader import json_schema, parse
from hil_protocols.selection import Cells, write_groups
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from protocol_arrays import LIBRARY, POINTS, quiet, setup_of

from hil.capabilities import Capabilities
from hil.errors import ProtocolError
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.limits import LimitChecker
from hil.operating import INHIBIT_SCHEMES
from hil.phases.lowering import slice_widths
from hil.phases.matvec import MatVec
from hil.phases.schemes import worst_half_select_v
from hil.program import LineState, Phase


def line_charge(block):
    """Integral of level over time per target and line, in V·s."""
    width = block.width_s if block.width_s.ndim == 2 else block.width_s[:, None]
    driven = block.state == LineState.DRIVE
    step = np.where(driven, block.level_v * width, 0.0) * block.repeat[:, None]
    out = np.zeros((int(block.target.max()) + 1, block.n_lines))
    np.add.at(out, block.target, step)
    return out


@given(
    inputs=hnp.arrays(float, (3, 4), elements=st.floats(0.0, 1.0)),
    cell=st.sampled_from(["1R", "1T1R", "3T"]),
)
def test_sliced_steps_deliver_the_charge_of_per_line_widths(inputs, cell):
    setup = setup_of(cell, 4)
    context = setup.context
    lines = context.geometry.read_lines
    whole = MatVec(
        context.geometry, context.op, Capabilities(), lines.plus, lines.minus, np.arange(4),
        Phase.FORWARD,
    ).block(inputs)  # fmt: skip
    sliced = slice_widths(whole)
    assert sliced.width_s.ndim == 1
    assert line_charge(sliced) == pytest.approx(line_charge(whole), rel=1e-9, abs=1e-18)
    setup.checker.check(whole)


@given(
    scheme=st.sampled_from(INHIBIT_SCHEMES),
    mask=hnp.arrays(bool, (4, 5)).filter(lambda m: m.any()),
    v=st.floats(0.1, 5.0),
    sign=st.sampled_from([1, -1]),
    cell=st.sampled_from(["1R", "1T1R", "3T"]),
)
def test_the_worst_half_select_of_a_scheme_is_what_compiled_blocks_show(
    scheme, mask, v, sign, cell
):
    kind = CELL_KINDS[cell]
    if scheme == "gate-off" and kind.select is None:
        return
    geometry = ArrayGeometry(4, 5, kind)
    op = replace(POINTS[cell], inhibit=scheme)
    rows, cols = np.nonzero(mask)
    chosen = Cells(rows, cols)
    together = "row"
    if scheme == "ground":
        chosen = Cells(*np.nonzero(mask.any(axis=1)[:, None] & np.ones((4, 5), bool)))
    block = write_groups(geometry, op, chosen.groups((4, 5), together), sign * v, 1e-6)
    lines = geometry.write_lines
    level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
    device_v = level[:, lines.plus][:, :, None] - level[:, lines.minus][:, None, :]
    if kind.select is not None:
        gates = level[:, geometry.lines(kind.select)]
        device_v = np.where((gates > 0)[:, :, None], device_v, 0.0)
    selected = block.selected[:, lines.plus][:, :, None] & block.selected[:, lines.minus][:, None]
    assert device_v[selected] == pytest.approx(sign * v)
    if scheme != "float":  # a floating line's potential is the array's business
        worst = np.abs(device_v[~selected]).max(initial=0.0)
        assert worst <= worst_half_select_v(scheme, v) * (1 + 1e-12)
    assert selected.sum() == len(chosen)


@given(
    mask=hnp.arrays(bool, (5, 6)).filter(lambda m: m.any()),
    together=st.sampled_from(["cell", "row", "array"]),
)
def test_groups_hold_every_chosen_cell_once_and_no_other(mask, together):
    rows, cols = Cells(*np.nonzero(mask)).groups((5, 6), together)
    covered = (rows[:, :, None] & cols[:, None, :]).sum(axis=0)
    assert np.array_equal(covered, mask.astype(int))


@pytest.mark.parametrize("coding", ["width", "amplitude", "count"])
def test_forward_knows_every_coding(coding):
    setup = setup_of("1R")
    procedure = parse(f'schema = 1\nkind = "forward"\npattern = "ones"\ncoding = "{coding}"\n')
    blocks = list(procedure.programme(setup.context))
    for block in blocks:
        setup.checker.check(block)
    assert sum(b.n_pulses for b in blocks) == (16 if coding == "count" else 1)


def test_a_backend_without_parallel_sense_gets_one_step_per_device():
    setup = setup_of("1R", capabilities=Capabilities(parallel_sense=False))
    procedure = parse('schema = 1\nkind = "read-map"\ncells = [[0, 0], [0, 3], [2, 1]]\n')
    (block,) = procedure.programme(setup.context)
    setup.checker.check(block)
    assert block.n_steps == 3
    assert block.n_readings == 3


def test_only_chosen_cells_are_sensed():
    setup = setup_of("1T1R", 8)
    (block,) = parse('schema = 1\nkind = "read-map"\nsample = 5\n').programme(setup.context)
    assert block.n_readings == 5


def test_a_million_steps_are_walked_and_checked_in_bounded_memory():
    context = setup_of("1R", 8).context
    procedure = parse('schema = 1\nkind = "endurance"\ncells = "all"\ncycles = 125000\n')
    programme = procedure.programme(context)
    checker = LimitChecker(context.geometry, context.limits, context.capabilities)
    checker.check(next(iter(programme)))  # compiles the check
    tracemalloc.start()
    steps = 0
    for index, block in enumerate(programme):
        checker.check(block, index)
        steps += block.n_pulses if block.phase is Phase.PROGRAM else 0
        assert block.n_steps <= context.capabilities.max_steps
        assert block.duration_s <= context.capabilities.max_block_s * (1 + 1e-9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert steps == 2 * 8 * 125_000
    assert peak < 60e6


def test_blocks_obey_a_backend_that_takes_few_steps_at_once():
    setup = setup_of("1R", 8, capabilities=Capabilities(max_steps=5, max_block_s=1e-4))
    for name in ("read-map", "ltp-ltd", "update", "forward", "endurance", "read-disturb"):
        for index, block in enumerate(LIBRARY.load(name).programme(setup.context)):
            setup.checker.check(block, index)


def test_repeated_blocks_are_the_same_object_checked_once():
    context = setup_of("1R").context
    blocks = list(LIBRARY.load("ltp-ltd").programme(context))
    assert len(blocks) == 402
    assert len({id(b) for b in blocks}) == 3
    assert all(b.template is not None for b in blocks)


def test_the_check_of_a_programme_and_its_run_share_one_compilation():
    context = setup_of("1R").context
    procedure = LIBRARY.load("read-map")
    (checked,) = procedure.programme(context)
    assert next(procedure.steps(context)) is checked


def test_other_voltages_of_the_file_replace_the_operating_point():
    context = quiet(setup_of("1R"), inhibit="v/3")
    procedure = parse(
        'schema = 1\nkind = "half-select-disturb"\npotentiate_voltage = "1.2 V"\n'
        'write_width = "3 us"\npulses = 1\n'
    )
    block = next(b for b in procedure.programme(context) if b.phase is Phase.PROGRAM)
    assert block.level_v[0, 0] == pytest.approx(0.6)
    assert block.level_v[0, 1] == pytest.approx(-0.2)
    assert block.width_s[0] == pytest.approx(3e-6)


@pytest.mark.parametrize("name", list(LIBRARY.names()))
def test_the_json_schema_accepts_the_library(name):
    values = tomllib.loads(LIBRARY.text(name))
    jsonschema.Draft202012Validator(json_schema()).validate(values)


@pytest.mark.parametrize(
    "text",
    [
        'schema = 1\nkind = "ltp-ltd"\ncycels = 1\n',
        'schema = 1\nkind = "ltp-ltd"\ncycles = 0\n',
        'schema = 1\nkind = "ltp-ltd"\nwrite_width = 3.0\n',
        'schema = 1\nkind = "nonsense"\n',
        'kind = "read-map"\n',
        'schema = 1\nkind = "pulse-map"\namplitudes = []\n',
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(text):
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(itertools.islice(validator.iter_errors(tomllib.loads(text)), 1))
    with pytest.raises(ProtocolError):
        parse(text)


def test_the_json_schema_is_itself_sound():
    jsonschema.Draft202012Validator.check_schema(json_schema())
