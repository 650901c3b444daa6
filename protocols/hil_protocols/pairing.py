"""Logical pairs of an array for the protocols of the learning phases."""

from __future__ import annotations

import numpy as np

from hil.errors import ProtocolError
from hil.pairs import PairMap, alive_lines
from hil.procedure import ArrayContext
from hil.program import BoolArray


def pairs_of(context: ArrayContext) -> PairMap:
    """Return the pair map of the array; without one, adjacent columns off dead cells.

    Raises:
        ProtocolError: the pairs are spread over two arrays or share a reference column, which a
            protocol of one array cannot serve; or the array has fewer than two columns.
    """
    pairs = context.pairs
    if pairs is None:
        rows, cols = alive_lines(context.geometry)
        if not rows.size or cols.size < 2:
            raise ProtocolError("a pair needs two columns without dead cells", field="kind")
        even = cols[: cols.size // 2 * 2]
        return PairMap("adjacent", rows, even[0::2], even[1::2])
    if pairs.minus_array != 0:
        raise ProtocolError(
            "the pairs of this array have their minus devices on a second array", field="kind"
        )
    if pairs.kind == "reference":
        raise ProtocolError(
            "the pairs of this array share a reference column, which cannot be written per pair",
            field="kind",
        )
    return pairs


def pair_mask(context: ArrayContext, pairs: PairMap) -> BoolArray:
    """Return the boolean (n_rows, n_cols) mask of all devices of ``pairs``."""
    mask = np.zeros(context.geometry.shape, dtype=np.bool_)
    mask[np.ix_(pairs.rows, np.concatenate([pairs.plus_cols, pairs.minus_cols]))] = True
    return mask
