"""Reads of a template's lines are counted as those of any block, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.operating import OperatingPoint
from hil.phases.matvec import MatVec
from hil.program import Phase

GEOMETRY, OP = ArrayGeometry(9, 6), OperatingPoint(read_v=0.13, read_s=3e-6)
TABLES = ("row_reads", "col_reads", "row_v2s", "col_v2s")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_products_are_counted_as_blocks_without_a_template(signed, backward):
    rng = np.random.default_rng(3)
    rows, cols = np.arange(1, 8), np.array([0, 2, 5])
    word, bit = GEOMETRY.read_lines.plus[rows], GEOMETRY.read_lines.minus[cols]
    drive, sense = (bit, word) if backward else (word, bit)
    phase = Phase.BACKWARD if backward else Phase.FORWARD
    product = MatVec(GEOMETRY, OP, Capabilities(), drive, sense, rows, phase, backward=backward)
    quick, general = Ledger(GEOMETRY), Ledger(GEOMETRY)
    for batch in (1, 4, 1):
        x = rng.uniform(-1.0 if signed else 0.0, 1.0, (batch, drive.size))
        x[rng.random(x.shape) < 0.3] = 0.0
        block = product.block(x, signed=signed)
        assert block.template is not None
        quick.add(block)
        general.add(replace(block, template=None))
    for name in TABLES:
        assert np.array_equal(getattr(quick, name), getattr(general, name))
    assert quick.row_reads.any() != backward
