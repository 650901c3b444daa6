from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import GeometryError
from hil.geometry import CELL_KINDS, ONE_R, ONE_T_ONE_R, THREE_TERMINAL, ArrayGeometry


@given(st.sampled_from(sorted(CELL_KINDS)), st.integers(1, 40), st.integers(1, 40))
def test_names_and_indices_of_lines_are_inverse(kind, rows, cols):
    geometry = ArrayGeometry(rows, cols, CELL_KINDS[kind])
    names = [geometry.line_name(k) for k in range(geometry.n_lines)]
    assert len(set(names)) == geometry.n_lines
    assert [geometry.line_index(name) for name in names] == list(range(geometry.n_lines))


def test_lines_are_numbered_group_after_group():
    geometry = ArrayGeometry(3, 2, ONE_T_ONE_R)
    assert [geometry.line_name(k) for k in range(8)] == [
        "WL0", "WL1", "WL2", "BL0", "BL1", "GL0", "GL1", "GL2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["WL3", "BL-1", "XL0", "WL", "WL1.0", "wl0", ""])
def test_a_line_that_the_array_does_not_have_is_refused(name):
    with pytest.raises(GeometryError, match="no line"):
        ArrayGeometry(3, 2).line_index(name)


def test_a_line_number_outside_the_array_has_no_name():
    with pytest.raises(GeometryError, match="within 0 … 4"):
        ArrayGeometry(3, 2).line_name(5)


@pytest.mark.parametrize(("rows", "cols"), [(0, 1), (1, 0), (-1, 4)])
def test_an_array_has_cells(rows, cols):
    with pytest.raises(GeometryError, match="at least 1 x 1"):
        ArrayGeometry(rows, cols)


def test_dead_cells_are_kept_as_a_read_only_mask():
    geometry = ArrayGeometry.with_dead_cells(3, 4, [(0, 1), (2, 3)])
    assert np.argwhere(geometry.dead_mask).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        geometry.dead_mask[0, 0] = True


@pytest.mark.parametrize("cell", [(3, 0), (0, 4), (-1, 0)])
def test_a_dead_cell_outside_the_array_is_refused(cell):
    with pytest.raises(GeometryError, match="dead cell"):
        ArrayGeometry.with_dead_cells(3, 4, [cell])


def test_a_dead_mask_of_another_shape_is_refused():
    with pytest.raises(GeometryError, match="dead mask"):
        ArrayGeometry(3, 4, ONE_R, np.zeros((4, 3), dtype=bool))


def test_a_port_says_which_lines_its_terminals_use():
    geometry = ArrayGeometry(4, 3)
    assert geometry.read_lines.plus.tolist() == [0, 1, 2, 3]
    assert geometry.read_lines.minus.tolist() == [4, 5, 6]
    assert geometry.read_lines.plus_by_row
    assert not geometry.read_lines.minus_by_row


@pytest.mark.parametrize(
    ("block_rows", "wells"), [(0, [0] * 5), (2, [0, 0, 1, 1, 2]), (5, [0] * 5)]
)
def test_rows_of_a_block_share_its_well(block_rows, wells):
    geometry = ArrayGeometry(5, 3, THREE_TERMINAL, block_rows=block_rows)
    erase = geometry.erase_lines
    assert erase is not None
    first = geometry.groups["PW"].start
    assert (erase.plus - first).tolist() == wells
    assert geometry.n_blocks == max(wells) + 1


def test_a_block_cannot_have_more_rows_than_the_array():
    with pytest.raises(GeometryError, match="block_rows"):
        ArrayGeometry(4, 4, THREE_TERMINAL, block_rows=5)


def test_a_cell_kind_without_such_a_terminal_says_which_it_has():
    with pytest.raises(GeometryError, match="no terminal 'gate'; it has word, bit"):
        ArrayGeometry(2, 2).lines("gate")
