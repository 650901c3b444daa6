from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hil.errors import GeometryError
from hil.geometry import ArrayGeometry
from hil.pairs import PAIR_KINDS, PairMap, alive_lines

KINDS = st.sampled_from(PAIR_KINDS)


@st.composite
def damaged_arrays(draw):
    rows, cols = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    cells = st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1))
    return ArrayGeometry.with_dead_cells(rows, cols, draw(st.lists(cells, max_size=5)))


@given(damaged_arrays(), KINDS, st.integers(1, 4), st.integers(1, 4))
def test_a_pair_map_either_fits_without_dead_cells_or_is_refused(geometry, kind, n_in, n_out):
    rows, cols = alive_lines(geometry)
    need = {"reference": n_out + 1, "two-arrays": n_out}.get(kind, 2 * n_out)
    if rows.size < n_in or cols.size < need:
        with pytest.raises(GeometryError, match=f"need {n_in} rows and {need} columns"):
            PairMap.build(kind, geometry, n_in, n_out)
        return
    pairs = PairMap.build(kind, geometry, n_in, n_out)
    pairs.check(geometry)
    assert (pairs.n_inputs, pairs.n_outputs) == (n_in, n_out)


@given(damaged_arrays(), KINDS, st.integers(1, 4), st.integers(1, 4))
def test_logical_undoes_physical(geometry, kind, n_in, n_out):
    try:
        pairs = PairMap.build(kind, geometry, n_in, n_out)
    except GeometryError:
        assume(False)
    for i in range(n_in):
        for j in range(n_out):
            for sign in (1, -1):
                array, row, col = pairs.physical(i, j, sign)
                expected_j = -1 if kind == "reference" and sign < 0 else j
                assert pairs.logical(row, col, array) == (i, expected_j, sign)


def test_the_four_maps_place_their_columns_as_they_are_called():
    geometry = ArrayGeometry(2, 6)
    columns = {
        kind: (p.plus_cols.tolist(), p.minus_cols.tolist(), p.minus_array)
        for kind in PAIR_KINDS
        for p in [PairMap.build(kind, geometry, 2, 3)]
    }
    assert columns == {
        "adjacent": ([0, 2, 4], [1, 3, 5], 0),
        "halves": ([0, 1, 2], [3, 4, 5], 0),
        "reference": ([0, 1, 2], [3, 3, 3], 0),
        "two-arrays": ([0, 1, 2], [0, 1, 2], 1),
    }


def test_a_tile_starts_at_its_corner():
    pairs = PairMap.build("adjacent", ArrayGeometry(8, 10), 3, 2, row=5, col=4)
    assert pairs.rows.tolist() == [5, 6, 7]
    assert pairs.physical(0, 1, -1) == (0, 5, 7)


def test_mappings_avoid_dead_cells():
    geometry = ArrayGeometry.with_dead_cells(4, 6, [(1, 2), (1, 4)])
    rows, cols = alive_lines(geometry)
    assert rows.tolist() == [0, 2, 3]
    assert cols.tolist() == list(range(6))
    assert PairMap.build("adjacent", geometry, 3, 3).rows.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (PairMap("adjacent", np.array([0, 9]), np.array([0]), np.array([1])), "row 9 of entry 1"),
        (PairMap("adjacent", np.array([0]), np.array([4]), np.array([1])), "plus column 4"),
        (PairMap("adjacent", np.array([0]), np.array([0]), np.array([-1])), "minus column -1"),
        (PairMap("adjacent", np.array([0, 0]), np.array([0]), np.array([1])), "share a row"),
        (PairMap("adjacent", np.array([0]), np.array([1]), np.array([1])), "both plus and minus"),
        (PairMap("halves", np.array([0]), np.array([0, 0]), np.array([1, 2])), "share a plus"),
        (PairMap("halves", np.array([0]), np.array([0, 1]), np.array([2, 2])), "share a minus"),
    ],
)
def test_a_map_that_does_not_fit_the_array_is_refused(pairs, says):
    with pytest.raises(GeometryError, match=says):
        pairs.check(ArrayGeometry(4, 4))


def test_a_map_over_a_dead_cell_is_refused():
    geometry = ArrayGeometry.with_dead_cells(4, 4, [(2, 1)])
    pairs = PairMap.build("adjacent", ArrayGeometry(4, 4), 4, 2)
    with pytest.raises(GeometryError, match=r"dead cell \(2, 1\)"):
        pairs.check(geometry)


@pytest.mark.parametrize("corner", [(4, 0), (0, 4), (-1, 0)])
def test_a_tile_outside_the_array_is_refused(corner):
    with pytest.raises(GeometryError, match="outside"):
        PairMap.build("adjacent", ArrayGeometry(4, 4), 1, 1, row=corner[0], col=corner[1])


def test_a_weight_that_does_not_exist_is_refused():
    pairs = PairMap.build("adjacent", ArrayGeometry(2, 4), 2, 2)
    with pytest.raises(GeometryError, match="no device"):
        pairs.physical(2, 0, 1)
    with pytest.raises(GeometryError, match="no device"):
        pairs.physical(0, 0, 0)
    assert pairs.logical(5, 5) is None
